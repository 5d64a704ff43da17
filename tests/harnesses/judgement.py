"""Compare what a control plane has stored about a run with what the proxies have seen of it."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.domain.clients import Client
from app.domain.retries import RetryBudget
from app.domain.rounds import Round
from app.store.events import RecordedEvent
from tcsfeel.wire.codec import decode
from tests.harnesses.history import History
from tests.harnesses.proxy import Call

LATE = 1.0  # seconds after the deadline
SLACK = 0.5  # seconds between the time of an event and the same moment at a proxy
TASK = re.compile(r"/agents/[^/]+/tasks/([^/?]+)")


@dataclass(kw_only=True)
class Outcome:
    """The result of a run. `problems` is empty if everything is correct."""

    history: History
    calls: Sequence[Call]
    events: Sequence[RecordedEvent]
    late: float = 0.0
    attempts: int = 0
    first_tries: int = 0
    corrupted: int = 0
    taken: int = 0
    probes: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return self.attempts / max(1, self.first_tries)


def judge_rounds(outcome: Outcome, rounds: Iterable[Round]) -> None:
    """Check that rounds end in time, and retry within their budget."""
    for round_ in rounds:
        place = f"round {round_.training_id}/{round_.number}"
        if round_.ended_at is None:
            outcome.problems.append(f"{place} has not ended")
            continue
        late = round_.ended_at - round_.deadline_at
        outcome.late = max(outcome.late, late)
        if late > LATE:
            outcome.problems.append(f"{place} ended {late:.2f} s after its deadline")
        attempts = sum(part.attempts for part in round_.participations)
        first = sum(part.attempts > 0 for part in round_.participations)
        outcome.attempts, outcome.first_tries = outcome.attempts + attempts, outcome.first_tries + first
        if attempts > first + RetryBudget.of(first).left:
            outcome.problems.append(f"{place} made {attempts} attempts for {first} clients")
    sent: dict[str, Counter[str]] = defaultdict(Counter)
    for call in outcome.calls:
        if call.method == "PUT" and not call.repeatable and (task := TASK.match(call.path)):
            training, number, *_, kind = task[1].split(".")
            sent[f"{training}/{number} {kind}"][task[1]] += 1
    for phase, tasks in sent.items():
        if tasks.total() > len(tasks) + RetryBudget.of(len(tasks)).left:
            outcome.problems.append(f"{phase}: {tasks.total()} hand-overs of {len(tasks)} tasks reached the proxies")


def judge_calls(outcome: Outcome) -> None:
    """Compare the states of the breakers in the log of events with the calls that the proxies saw."""
    states: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for event in outcome.events:
        if event.type.startswith("breaker.") and event.client_id is not None:
            states[event.client_id].append((event.at, event.type.removeprefix("breaker.")))
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in outcome.calls:
        if not call.path.endswith("/healthz"):
            calls[call.client_id].append(call)
    for client_id, changes in states.items():
        for (since, state), (until, _) in zip(changes, [*changes[1:], (float("inf"), "")], strict=True):
            begun = [call for call in calls[client_id] if since <= call.began < until]
            if state == "open":
                outcome.problems += [
                    f"{call.method} {call.path} {call.began - since:.2f} s after {client_id}'s breaker had opened"
                    for call in begun
                    if call.began > since + SLACK
                ]
            elif state == "half_open":
                probes = [call for call in begun if call.method != "DELETE"]
                outcome.probes += len({TASK.match(call.path) and call.path.partition("?")[0] for call in probes})
                if (most := at_once(probes)) > 1:
                    outcome.problems.append(f"{most} calls at once while {client_id}'s breaker was half-open")


def at_once(calls: Sequence[Call]) -> int:
    """Return how many calls were active at the same time. A call that ends when another begins does not overlap."""
    changes = [(call.began, 1) for call in calls]
    changes += [(call.ended - SLACK if call.ended is not None else float("inf"), -1) for call in calls]
    highest = now = 0
    for _, change in sorted(changes):
        now += change
        highest = max(highest, now)
    return highest


def judge_updates(outcome: Outcome, rounds: Iterable[Round]) -> None:
    """Check that the updates that count have exactly the bytes that their agents sent, and not those a proxy made."""
    sent: dict[str, set[str | None]] = defaultdict(set)
    broken: dict[str, set[str | None]] = defaultdict(set)
    for call in outcome.calls:
        outcome.corrupted += call.answer is not None and call.flipped is not None
        if call.flipped is None or call.corrupted == call.answer:  # a flip in the head may leave the update as it was
            sent[call.client_id].add(call.answer)
        else:
            broken[call.client_id].add(call.corrupted)
    for round_ in rounds:
        for part in round_.participations:
            if part.status != "received" or part.update in sent[part.client_id]:
                continue
            if part.update in broken[part.client_id]:
                outcome.taken += 1
                outcome.problems.append(f"round {round_.number}: a corrupted update of {part.client_id} counts")
            else:
                outcome.problems.append(f"round {round_.number}: nobody has sent the update of {part.client_id}")


def blamed(clients: Iterable[Client], events: Iterable[RecordedEvent], faulty: frozenset[str]) -> Iterable[str]:
    for client in clients:
        if client.id not in faulty and client.breaker.state != "closed":
            yield f"the breaker of {client.id} is {client.breaker.state} for no fault of its own"
    for event in events:
        if event.type == "breaker.open" and event.client_id not in faulty:
            yield f"the breaker of {event.client_id} opened for no fault of its own"


def unusable(history: History, models: Path) -> Iterable[str]:
    for name, story in history.stories.items():
        if story.training.model is None:
            yield f"{name} has no model"
            continue
        parameters, _ = decode((models / story.training.model).read_bytes())
        if not all(np.isfinite(values).all() for values in parameters.values()):
            yield f"{name}: its model is not finite"
