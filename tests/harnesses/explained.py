"""Explain each model of a run by what its round has recorded: whose updates are in it, how old, and with which weight.

The learners of `fleet` make the same update of the same model each time, so it is computed again here, without the code
of the product. An update that counts twice, in a round or in two of them, makes another model than the one explained.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from app.domain.carrying import TRAINING_ENDED
from app.domain.rounds import Participation, Round
from tcsfeel.wire.codec import Parameters, decode
from tcsfeel.wire.tasks import task_id
from tests.harnesses.fleet import examples_of, trained
from tests.harnesses.history import History, Story

NEAR = 1e-5  # what float32 and the order of sums may change; counting an update twice changes 1e-2
SLACK_SECONDS = 5.0  # after an agent is back, in which calls may still go to its old address


@dataclass(frozen=True, slots=True)
class Absence:
    """An agent that was killed, and when it was there again, in unix seconds."""

    client_id: str
    since: float
    until: float = math.inf


def unexplained(
    history: History, models: Path, numbers: Mapping[str, int], absences: Collection[Absence] = ()
) -> list[str]:
    """List models that their members do not make, tasks that count twice, and clients that were left out for no reason.

    Args:
        history: what the run has left in the database.
        models: the directory of the model store.
        numbers: those of the learners, by client.
        absences: the agents that were killed.
    """

    @cache
    def model(sha256: str) -> Parameters:
        return decode((models / sha256).read_bytes())[0]

    found = []
    for name, story in history.stories.items():
        found += [f"{name}: {problem}" for problem in _chains(story)]
        for number, round_ in sorted(story.rounds.items()):
            problems = [*_members(story, round_), *_left_out(story, round_, absences)]
            if round_.status == "completed" and not problems:
                made = {one: model(one) for one in _models(round_)}
                problems += _sum(round_, made, numbers)
            found += [f"{name} round {number}: {problem}" for problem in problems]
    return found


def not_counted(history: History, trained_tasks: Collection[str]) -> list[str]:
    """List tasks that agents have trained, and whose updates are in no model although nothing ended them before."""
    found = []
    for name, story in history.stories.items():
        ended = {
            task_id(story.training.id, _began(part, number), part.client_id, "fit"): (number, part)
            for number, round_ in sorted(story.rounds.items())
            for part in round_.participations
        }
        for task, (number, part) in ended.items():
            excused = part.reason == TRAINING_ENDED or _too_old(story, number, part)
            if task in trained_tasks and part.status != "received" and not excused:
                found.append(
                    f"{name} round {number}: {part.client_id} has trained, and is {part.status} ({part.reason})"
                )
    return found


def counts(history: History) -> tuple[int, int]:
    """Count the updates in models that were carried from an earlier round, and those that came through a relay."""
    received = [
        part
        for story in history.stories.values()
        for round_ in story.rounds.values()
        for part in round_.participations
        if part.status == "received"
    ]
    return sum(part.begun_in is not None for part in received), sum(part.relay is not None for part in received)


def _began(part: Participation, number: int) -> int:
    return number if part.begun_in is None else part.begun_in


def _too_old(story: Story, number: int, part: Participation) -> bool:
    return number + 1 - _began(part, number) > story.training.config.round_policy.max_staleness


def _chains(story: Story) -> Iterator[str]:
    """Yield problems unless each task counts once at most, and each carried one goes on in the round that it names."""
    counted: dict[tuple[int, str], int] = {}
    expected: set[tuple[int, str, int]] = set()
    for number, round_ in sorted(story.rounds.items()):
        carried_in = {(number, part.client_id, part.begun_in) for part in round_.participations if part.begun_in}
        carried_in = {one for one in carried_in if one[2] != number}
        for _, client_id, began in sorted(carried_in - expected, key=str):
            yield f"round {number}: the task of {client_id} from round {began} was not carried into it"
        expected -= carried_in
        for part in round_.participations:
            task = _began(part, number), part.client_id
            if part.status == "received" and task in counted:
                yield f"the task of {part.client_id} from round {task[0]} counts in rounds {counted[task]} and {number}"
            if part.status == "received":
                counted[task] = number
            if part.status == "carried" and part.carried_to is None:
                yield f"round {number}: the task of {part.client_id} is carried, and has no end"
            if part.status == "carried" and part.carried_to is not None:
                expected.add((part.carried_to, part.client_id, task[0]))
    for number, client_id, began in sorted(expected):
        yield f"the task of {client_id} from round {began} was carried to round {number}, which does not have it"


def _members(story: Story, round_: Round) -> Iterator[str]:
    """Yield problems unless each update has the base, the age and the relay that it can have."""
    received = {part.client_id: part for part in round_.participations if part.status == "received"}
    parents = round_.plan.parents if round_.plan is not None else {}
    for part in received.values():
        if part.begun_in is not None:
            begun = story.rounds[part.begun_in]
            made = [one for one in range(part.begun_in, round_.number) if story.rounds[one].status == "completed"]
            if (part.base_model, part.staleness) != (begun.base_model, len(made)):
                yield f"{part.client_id} began with another model, or has another age, than {part.begun_in} says"
        if part.relay is not None:
            relay = received.get(part.relay)
            if relay is None or relay.relay is not None or parents.get(part.client_id) != part.relay:
                yield f"{part.client_id} came through {part.relay}, which brought nothing or is not its relay"


def _left_out(story: Story, round_: Round, absences: Collection[Absence]) -> Iterator[str]:
    """Yield the clients whose updates a round lacks, unless they carry on, or their agents were killed."""
    carries = story.training.config.round_policy.stragglers == "carry"
    for part in round_.participations:
        if part.status == "received" or (carries and part.status in {"carried", "skipped"}):
            continue
        away = any(
            one.client_id == part.client_id
            and one.since <= (part.finished_at or math.inf)
            and one.until + SLACK_SECONDS >= round_.started_at
            for one in absences
        )
        if not away:
            yield f"{part.client_id} is {part.status}, and its agent was there ({part.reason})"


def _models(round_: Round) -> set[str]:
    """Return the models that a round was made from, and its own."""
    bases = {part.base_model for part in round_.participations if part.status == "received"}
    return {name for name in (*bases, round_.base_model, round_.model) if name is not None}


def _sum(round_: Round, models: Mapping[str, Parameters], numbers: Mapping[str, int]) -> Iterator[str]:
    """Yield a problem unless the model is the mean of its members' updates, each moved to the base of the round."""
    present = models[round_.base_model or ""]
    received = [part for part in round_.participations if part.status == "received"]
    weights = np.array([examples_of(numbers[one.client_id]) / math.sqrt(1 + one.staleness) for one in received])
    weights /= weights.sum()
    if any(one.staleness for one in received):
        stored = np.array([math.nan if one.weight is None else one.weight for one in received])
        if not np.allclose(stored, weights, rtol=1e-6):
            yield f"its weights are {stored}, and should be {weights}"
    expected = {name: np.zeros(values.shape) for name, values in present.items()}
    for part, weight in zip(received, weights, strict=True):
        if part.num_examples != examples_of(numbers[part.client_id]):
            yield f"{part.client_id} counts for {part.num_examples} examples"
        base = models[part.base_model or round_.base_model or ""]
        update = trained(base, numbers[part.client_id], _began(part, round_.number))
        for name, values in present.items():
            expected[name] += weight * (values + (update[name].astype(np.float64) - base[name]))
    made = models[round_.model or ""]
    off = max(float(np.abs(made[name] - values).max()) for name, values in expected.items())
    if not off <= NEAR:
        yield f"its model is not the mean of its {len(received)} members: values differ by up to {off:.2g}"
