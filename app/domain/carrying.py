"""Tasks that outlive the round in which they began, for a training whose `stragglers` are carried.

A client that is still at work when its round goes on keeps its task:

    round 3: training -> carried, carried_to 4     the task and its id stay as they are
    round 4: a participation of its own, training  with the round and the model with which the task began
             -> received, rejected, failed         as every other participation
             -> carried, carried_to 5              until the task has ended, or is `max_staleness` rounds old
             -> skipped                            as every other one that is late

A carried participation that no later round has taken in is *open*: its client is busy. It becomes `skipped` if the next
round cannot take it in: its client is down, isolated or removed, the training carries such tasks no more, or has ended.
Every task that a round took in was asked for in that round, however many rounds before it were never planned.

The weight of a stale update is multiplied by 1 / sqrt(1 + s), where s is the number of model versions that were made
since the one that it began with (FedBuff: Nguyen et al., "Federated learning with buffered asynchronous aggregation",
2022). It is weighed against the other updates of its round, so a round in which all updates are as stale as each other
weighs them as usual.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.clients import Client
from app.domain.rounds import Participation, Round
from app.domain.tasks import TaskRun
from app.domain.trainings import RoundPolicy
from tcsfeel.selection.types import SelectionPolicy
from tcsfeel.wire.tasks import task_id

CARRIED = "it was still at work when the round continued, and keeps its task"
TRAINING_ENDED = "the training ended while it was still at work"
TOO_OLD = "its task is older than max_staleness, which was lowered, allows"
CARRIES_NO_MORE = "the training no longer carries the tasks of stragglers"
DOWN = "it was down before its task had ended"
ISOLATED = "it was isolated before its task had ended"
REMOVED = "it was removed before its task had ended"
EXPIRED = "its training was paused for longer than its agent keeps the task"
BASE_GONE = "the server no longer has the model that its task began with"
HAS_A_NEWER_ONE = "it has a newer task of this training"


@dataclass(frozen=True, slots=True)
class Carried:
    """An open carried participation, and the number of the round that it belongs to."""

    round: int
    part: Participation


@dataclass(frozen=True, slots=True)
class Leaving:
    """An open carried participation that no round takes in, and why.

    Attributes:
        late: whether that counts against its client.
    """

    one: Carried
    reason: str
    late: bool = False


def discount(staleness: int) -> float:
    """Return the factor, in (0, 1], of the weight of an update that is this many model versions old, at least 0."""
    return 1.0 / math.sqrt(1.0 + staleness)


def began(part: Participation, number: int) -> int:
    """Return the round in which the task of a participation in round `number` began."""
    return number if part.begun_in is None else part.begun_in


def task_of(part: Participation, training_id: str, number: int) -> str:
    """Return the id of the task of a participation in round `number`, which it keeps while it is carried."""
    return task_id(training_id, began(part, number), part.client_id, part.kind)


def seconds_more(policy: RoundPolicy, age: int) -> float:
    """Return for how many seconds beyond its round a task may be wanted that began `age` rounds ago."""
    left = policy.max_staleness - age if policy.stragglers == "carry" else 0
    return max(0, left) * policy.deadline_seconds


def may_be_carried(policy: RoundPolicy, round_: Round, part: Participation, run: TaskRun) -> bool:
    """Tell whether a client whose answer is missing when its round ends keeps its task.

    A client for which the server had no free slot has no task to keep, and neither has one that failed or was refused a
    moment ago: that counts once. If `run` knows nothing of it or is `resumed`, it may have been handed over before.
    """
    if policy.stragglers != "carry" or part.kind != "fit" or part.status != "training":
        return False
    never_called = run.asked_at is not None and run.started_at is None and not run.resumed
    return not never_called and not run.over and round_.number + 1 - began(part, round_.number) <= policy.max_staleness


def carried(part: Participation, round_: Round, run: TaskRun, now: float) -> Participation:
    """Return a participation whose task goes on without its round, with what it has cost until now (unix seconds)."""
    return replace(
        run.charged(part),
        status="carried",
        reason=CARRIED,
        seconds=run.seconds(now),
        finished_at=now,
        begun_in=began(part, round_.number),
        base_model=part.base_model or round_.base_model,
    )


def divided(
    policy: RoundPolicy, found: Sequence[Carried], clients: Mapping[str, Client]
) -> tuple[list[Carried], list[Leaving]]:
    """Divide open carried tasks into those that the next round takes in, and those that end.

    Rounds that were never planned, in which nobody asked for the tasks, make them no older. Of several tasks of one
    client the newest goes on.

    Args:
        policy: that of the training, as it is now.
        found: the open carried tasks, those of the oldest round first.
        clients: the clients of the tasks, by id, without those that were removed.
    """
    staying: list[Carried] = []
    leaving: list[Leaving] = []
    seen: set[str] = set()
    for one in reversed(found):
        left = _left(policy, one, clients.get(one.part.client_id))
        if left is None and one.part.client_id in seen:
            left = Leaving(one, HAS_A_NEWER_ONE)
        if left is None:
            seen.add(one.part.client_id)
            staying.append(one)
        else:
            leaving.append(left)
    return staying[::-1], leaving[::-1]


def _left(policy: RoundPolicy, one: Carried, client: Client | None) -> Leaving | None:
    """Return why a task ends before the next round. None if it goes on."""
    if policy.stragglers != "carry":
        return Leaving(one, CARRIES_NO_MORE)
    if one.round + 1 - began(one.part, one.round) > policy.max_staleness:
        return Leaving(one, TOO_OLD)
    if client is None:
        return Leaving(one, REMOVED)
    if client.breaker.isolated:
        return Leaving(one, ISOLATED)
    if client.status == "down":
        return Leaving(one, DOWN, late=True)
    return None


def taken_in(one: Carried, staleness: int) -> Participation:
    """Return the participation of a carried task in the round that takes it in."""
    part = one.part
    return Participation(
        client_id=part.client_id,
        status="training",
        attempts=part.attempts,
        score=part.score,
        components=part.components,
        begun_in=began(part, one.round),
        base_model=part.base_model,
        staleness=staleness,
        sent_before=part.sent_before + part.bytes_sent,
        local_epochs=part.local_epochs,
    )


def free_places(policy: SelectionPolicy, carried_tasks: int) -> SelectionPolicy:
    """Return what a round selects besides the carried tasks, each of which takes a place; at least one client."""
    return replace(
        policy,
        min_clients=max(1, policy.min_clients - carried_tasks),
        max_clients=max(1, policy.max_clients - carried_tasks),
    )


def has_expired(one: Carried, policy: RoundPolicy, now: float) -> bool:
    """Tell whether the agent of an open carried task keeps it no longer, at `now` (unix seconds).

    The round that it was carried out of ended no later than its deadline, and a task has `seconds_more` beyond that.
    """
    return now - (one.part.finished_at or 0.0) > (1 + policy.max_staleness) * policy.deadline_seconds


def busy_reason(one: Carried) -> str:
    """Say why the client of a carried task is not selected."""
    return f"it still works on its task of round {began(one.part, one.round)}"
