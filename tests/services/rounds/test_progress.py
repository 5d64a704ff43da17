"""What is stored of a training's progress, with the events and the metrics that tell of it."""

from collections.abc import Sequence

import pytest

from app.metrics import Metrics
from app.services.rounds.progress import ProgressRecord
from app.store.database import Database
from tests.clocks import FakeClock
from tests.store.samples import NOW, a_round, training


@pytest.fixture
async def progress(db: Database, counts: Metrics) -> ProgressRecord:
    """That of the running training `t`, whose first round is open."""
    async with db.begin() as tx:
        await tx.trainings.add(training(status="running"))
        await tx.rounds.add(a_round())
    return ProgressRecord(FakeClock(NOW), counts)


async def state(db: Database) -> tuple[str, str | None] | None:
    async with db.read() as tx:
        stored = (await tx.trainings.get("t")).progress
    return None if stored is None else (stored.state, stored.reason)


async def told(db: Database) -> Sequence[str]:
    async with db.read() as tx:
        return [event.type for event in (await tx.events.after(0, limit=100)).items]


def stalled(counts: Metrics) -> float | None:
    return counts.registry.get_sample_value("federated_trainings_held_up", {"state": "stalled"})


async def test_a_training_is_stalled_until_a_step_forward(
    progress: ProgressRecord, db: Database, counts: Metrics
) -> None:
    async with db.begin() as tx:
        await progress.moved_after_stall(tx, "t")
    assert await state(db) is None, "nothing is known to have stalled"
    async with db.begin() as tx:
        await progress.moved(tx, "t")
    async with db.begin() as tx:
        stopped, round_ = await progress.interrupted(tx, "t", "the disk is full", foreseen=True)
    assert stopped.progress is not None
    assert (round_, await state(db)) == (a_round(), ("stalled", "the disk is full"))
    assert stalled(counts) == 1
    async with db.begin() as tx:
        await progress.moved_after_stall(tx, "t")
    assert await state(db) == ("moving", None)
    assert stalled(counts) == 0
    assert await told(db) == ["training.stalled", "training.moving"]


async def test_an_error_that_nothing_foresaw_counts_as_a_failure_of_the_step(
    progress: ProgressRecord, db: Database
) -> None:
    for failures in (1, 2):
        async with db.begin() as tx:
            _, round_ = await progress.interrupted(tx, "t", "a bug", foreseen=False)
            assert round_ is not None
            assert round_.step_failures == (await tx.rounds.get("t", 1)).step_failures == failures


async def test_a_round_waits_since_it_began_to_and_its_training_says_for_what(
    progress: ProgressRecord, db: Database
) -> None:
    async with db.begin() as tx:
        waiting = await progress.waiting(tx, a_round(), "2 of 3 clients")
    assert waiting.waiting_since == NOW
    async with db.begin() as tx:
        again = await progress.waiting(tx, waiting, "1 of 3 clients")
    assert again == waiting
    assert await state(db) == ("waiting", "1 of 3 clients")
    async with db.begin() as tx:
        await progress.moved(tx, "t")
        assert await tx.rounds.get("t", 1) == waiting
    assert await state(db) == ("moving", None)


async def test_a_training_that_has_not_changed_is_not_written(progress: ProgressRecord, db: Database) -> None:
    moving = progress.moving(training(status="running"))
    async with db.begin() as tx:
        await progress.keep(tx, moving, moving)
    assert await state(db) is None
    async with db.begin() as tx:
        await progress.keep(tx, training(status="running"), moving)
    assert await state(db) == ("moving", None)
