"""What monitoring asks the database at each scrape."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.mailbox import MailedTask
from app.store.database import Database
from app.store.vitals import Measured, Vitals
from tests.store.samples import NOW, a_round, training

TASK = MailedTask(
    id="t.1.a.fit", client_id="a", training_id="t", round=1, kind="fit", document="{}", model=None, accept="zstd",
    most_bytes=1, offered_at=NOW - 90, deadline_at=NOW + 60,
)  # fmt: skip


async def read(db: Database, *shown: str) -> Vitals:
    async with db.read() as tx:
        return await tx.vitals.read(NOW, shown)


async def add(db: Database, training_id: str, deadline_at: float, *, status: str = "running", **fields: Any) -> None:
    """A training with one round that is open."""
    async with db.begin() as tx:
        await tx.trainings.add(training(training_id, status=status))
        await tx.rounds.add(a_round(training_id, deadline_at=deadline_at, **fields))


async def test_an_empty_database_has_nothing_but_a_size(db: Database) -> None:
    vitals = await read(db, "t")
    assert vitals == replace(vitals, trainings={}, since_best={}, measured={}, overdue_seconds=0.0)
    assert (vitals.offered, vitals.offered_seconds) == (0, 0.0)
    assert vitals.size > 4096


async def test_the_round_whose_deadline_passed_first_is_overdue(db: Database) -> None:
    await add(db, "a", NOW - 30)
    await add(db, "b", NOW - 70)
    await add(db, "c", NOW + 10)
    vitals = await read(db)
    assert vitals.overdue_seconds == 70
    assert vitals.trainings == {"running": 3}


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("running", {"status": "completed", "ended_at": NOW}),
        ("running", {"status": "abandoned", "ended_at": NOW}),
        ("running", {"waiting_since": NOW - 70}),
        ("paused", {}),
    ],
)
async def test_rounds_that_nobody_should_end_are_not_overdue(db: Database, status: str, fields: dict[str, Any]) -> None:
    await add(db, "a", NOW - 70, **({"status": "training"} | fields) if status == "running" else {})
    if status != "running":
        async with db.begin() as tx:
            await tx.trainings.put(replace(await tx.trainings.get("a", for_update=True), status="paused"))
    assert (await read(db)).overdue_seconds == 0


async def test_rounds_since_the_best_are_those_of_trainings_that_run_and_have_one(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training("a", status="running", current_round=12, best_round=2))
        await tx.trainings.add(training("b", status="running", current_round=12))
        await tx.trainings.add(training("c", status="completed", current_round=12, best_round=2))
    vitals = await read(db)
    assert vitals.since_best == {"a": 10}
    assert vitals.trainings == {"running": 2, "completed": 1}


async def test_what_was_measured_is_that_of_the_trainings_asked_for(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training("a", accuracy=0.5, goal_value=0.25))
        await tx.trainings.add(training("b", accuracy=0.75))
        await tx.trainings.add(training("c", accuracy=0.875))
    assert (await read(db, "a", "b", "gone")).measured == {"a": Measured(0.5, 0.25), "b": Measured(0.75, None)}


async def test_tasks_wait_from_their_offer_until_their_agents_take_them_or_their_deadline(db: Database) -> None:
    async with db.begin() as tx:
        await tx.mailbox.offer(TASK)
        await tx.mailbox.offer(replace(TASK, id="t.1.b.fit", client_id="b", offered_at=NOW - 5))
        await tx.mailbox.offer(replace(TASK, id="t.1.c.fit", client_id="c", offered_at=NOW - 500, deadline_at=NOW - 1))
    vitals = await read(db)
    assert (vitals.offered, vitals.offered_seconds) == (2, 90)
    async with db.begin() as tx:
        await tx.mailbox.take(TASK, NOW, size=1, call=None, seconds=1.0, digest="d" * 64)
    vitals = await read(db)
    assert (vitals.offered, vitals.offered_seconds) == (1, 5)
