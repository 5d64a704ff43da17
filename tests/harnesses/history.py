"""Read what a run has left in the database and on the disk, and check that it is the history of complete rounds.

Trainings are identified by their names, which are the same in every run, unlike their ids.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.rounds import Round
from app.domain.trainings import Training
from app.store.database import Database
from app.store.models import ModelVersion
from app.store.tables import clients, events, model_versions
from tcsfeel.wire.tasks import LOSS

MANY = 1_000_000
SKIPPED = "evaluation.skipped"
ONCE_A_ROUND = ("round.started", "round.planned", "round.aggregated", "round.completed")
COUNTED = frozenset({*ONCE_A_ROUND, "participation.received", "evaluation.received"})


@dataclass(frozen=True, slots=True)
class Story:
    """The history of one training: its rounds by number, its model versions by round, and the counts of its events.

    The events of its rounds are counted by type, round and client.
    """

    training: Training
    rounds: Mapping[int, Round]
    versions: Mapping[int, ModelVersion]
    events: Counter[tuple[str, int, str | None]]


@dataclass(frozen=True, slots=True)
class History:
    """The history of a run: its trainings by name, and how often each client was selected and completed a round."""

    stories: Mapping[str, Story]
    selected: Mapping[str, int]
    completed: Mapping[str, int]

    @property
    def rounds(self) -> int:
        return sum(len(story.rounds) for story in self.stories.values())


async def read_history(url: str) -> History:
    db = Database(url, pool_size=1)
    try:
        async with db.read() as tx:
            trainings = (await tx.trainings.page(limit=MANY, after=None)).items
            stories = {}
            for training in trainings:
                rounds = (await tx.rounds.page(training.id, limit=MANY, before=None)).items
                stories[training.config.name] = Story(
                    training,
                    {round_.number: round_ for round_ in rounds},
                    await _versions(tx.connection, training.id),
                    await _events(tx.connection, training.id),
                )
            counts = select(clients.c.id, clients.c.rounds_selected, clients.c.rounds_completed)
            rows = (await tx.connection.execute(counts)).all()
            return History(
                stories,
                {row.id: row.rounds_selected for row in rows},
                {row.id: row.rounds_completed for row in rows},
            )
    finally:
        await db.dispose()


def problems(history: History, models: Path, *, cancelled: bool = False, whole: bool = True) -> list[str]:
    """List what must never happen, whatever the faults: lost rounds, updates that count twice, missing models.

    Every training must have reached its last round. With `cancelled`, its last round may have been abandoned. If a
    history need not be `whole`, participations may have ended without an update, and rounds without a model.
    """
    end = ("cancelled", "cancelled") if cancelled else ("completed", "max_rounds")
    found = []
    for name, story in history.stories.items():
        training = story.training
        if (training.status, training.stop_reason) != end:
            found.append(f"{name}: is {training.status} ({training.stop_reason})")
        last = training.current_round if cancelled else training.config.max_rounds
        left = _without_cut_round(story) if cancelled else story
        found += _round_problems(name, story, last, whole=whole)
        found += _event_problems(name, left, whole=whole)
        found += _model_problems(name, left, models)
    rounds = [round_ for story in history.stories.values() for round_ in story.rounds.values()]
    parts = [part for round_ in rounds for part in round_.participations]
    chosen = [part for round_ in rounds for part in round_.participations if part.begun_in in {None, round_.number}]
    for what, counted, true in (
        ("selected", history.selected, Counter(part.client_id for part in chosen)),
        ("completed", history.completed, Counter(part.client_id for part in parts if part.status == "received")),
    ):
        found += [
            f"client {client_id}: {count} rounds {what}, should be {true[client_id]}"
            for client_id, count in counted.items()
            if count != true[client_id]
        ]
    return found


def differences(history: History, calm: History) -> list[str]:
    """List where the selections, updates or models of a run differ from those of the run without faults."""
    found = []
    for name, story in history.stories.items():
        other = calm.stories[name]
        for number in sorted(story.rounds.keys() | other.rounds.keys()):
            known, true = story.rounds.get(number), other.rounds.get(number)
            if known is None or true is None:
                found.append(f"{name} round {number}: is in one of the two runs only")
            elif _essence(known) != _essence(true):
                found.append(f"{name} round {number}: is not as without faults")
        if story.training.model != other.training.model:
            found.append(f"{name}: its final model is not as without faults")
    return found


def _without_cut_round(story: Story) -> Story:
    """Leave out what the cancellation of its training has cut: a whole round, or evaluations of its model."""
    cut = story.training.current_round
    if (last := story.rounds[cut]).status == "completed":
        received = tuple(one for one in last.evaluations if one.status == "received")
        events = Counter({event: count for event, count in story.events.items() if event[:2] != (SKIPPED, cut)})
        return replace(story, rounds={**story.rounds, cut: replace(last, evaluations=received)}, events=events)
    rounds = {number: round_ for number, round_ in story.rounds.items() if number != cut}
    events = Counter({event: count for event, count in story.events.items() if event[1] != cut})
    return replace(story, rounds=rounds, events=events)


def _round_problems(name: str, story: Story, last: int, *, whole: bool) -> Iterator[str]:
    """Yield problems unless the rounds 1 to `last` are completed. A cancelled training may have abandoned the last.

    If the history need not be `whole`, they may be abandoned. Evaluations count when a round is measured, so those that
    an abandoned round has received do not, nor those of a round that a cancelled training has completed without them.
    """
    ended = {"completed"} if whole else {"completed", "abandoned"}
    for number in range(1, last + 1):
        round_ = story.rounds.get(number)
        if round_ is None:
            yield f"{name} round {number}: lost"
        elif round_.status not in ended and (story.training.status, number) != ("cancelled", last):
            yield f"{name} round {number}: is {round_.status} ({round_.failure_reason})"
        elif round_.status == "completed" and round_.failure_reason is None:
            counted, came = _evaluations_counted(round_), sum(one.status == "received" for one in round_.evaluations)
            if counted != came:
                yield f"{name} round {number}: {counted} evaluations are counted, {came} were received"
    if extra := [number for number in story.rounds if number > last]:
        yield f"{name}: has rounds {extra} beyond its last"


def _evaluations_counted(round_: Round) -> int:
    return round_.metrics[LOSS].clients if LOSS in round_.metrics else 0


def _event_problems(name: str, story: Story, *, whole: bool) -> Iterator[str]:
    """Yield problems unless each update and evaluation was received once, and each step of a round was done once.

    If the history is `whole`, nothing else has happened.
    """
    expected: Counter[tuple[str, int, str | None]] = Counter()
    for round_ in story.rounds.values():
        steps = ONCE_A_ROUND if round_.status == "completed" else ONCE_A_ROUND[: 1 + (round_.plan is not None)]
        expected.update((kind, round_.number, None) for kind in steps)
        for part in round_.parts:
            if part.status == "received":
                what = "participation" if part.kind == "fit" else "evaluation"
                expected[f"{what}.received", round_.number, part.client_id] += 1
            elif whole:
                yield f"{name} round {round_.number}: {part.kind} of {part.client_id} {part.status} ({part.reason})"
    seen = story.events if whole else Counter({one: n for one, n in story.events.items() if one[0] in COUNTED})
    for (kind, number, client_id), count in sorted((seen - expected).items(), key=str):
        yield f"{name} round {number}: {count} times {kind} {client_id or 'of all'} too many"
    for (kind, number, client_id), count in sorted((expected - story.events).items(), key=str):
        yield f"{name} round {number}: {count} times {kind} {client_id or 'of all'} missing"


def _model_problems(name: str, story: Story, models: Path) -> Iterator[str]:
    """Yield problems unless each completed round has one version, made from the one before, with the right bytes."""
    completed = [number for number, round_ in sorted(story.rounds.items()) if round_.status == "completed"]
    if sorted(story.versions) != [0, *completed]:
        yield f"{name}: has model versions of rounds {sorted(story.versions)}"
    parent: ModelVersion | None = None
    for number, version in sorted(story.versions.items()):
        round_ = story.rounds.get(number)
        if version.parent != (parent and parent.sha256):
            yield f"{name} round {number}: its model has the wrong parent"
        if round_ is not None and (round_.model, round_.base_model) != (version.sha256, version.parent):
            yield f"{name} round {number}: its model is not the version of the round"
        file = models / version.sha256
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != version.sha256:
            yield f"{name} round {number}: its model's file is not whole"
        parent = version
    last = story.versions.get(max(story.versions, default=0))
    if last is None or story.training.model != last.sha256:
        yield f"{name}: does not point to its newest model"


def _essence(round_: Round) -> object:
    """Return the parts of a round that must not depend on faults. Times and traffic may depend on them."""
    updates = sorted(
        (part.client_id, part.status, part.num_examples, part.loss, part.score) for part in round_.participations
    )
    return (round_.status, round_.seed, round_.base_model, round_.model, updates)


async def _versions(connection: AsyncConnection, training_id: str) -> dict[int, ModelVersion]:
    query = select(model_versions).where(model_versions.c.training_id == training_id)
    return {row["round"]: ModelVersion(**row) for row in (await connection.execute(query)).mappings()}


async def _events(connection: AsyncConnection, training_id: str) -> Counter[tuple[str, int, str | None]]:
    query = select(events.c.type, events.c.round, events.c.client_id).where(
        events.c.training_id == training_id,
        events.c.round.is_not(None),
        events.c.type.not_like("training.%"),
    )
    return Counter((row.type, row.round, row.client_id) for row in await connection.execute(query))
