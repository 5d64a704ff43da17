"""Tasks that agents ask for, as rows."""

import asyncio
from dataclasses import replace

import pytest

from app.domain.errors import IllegalTransition
from app.domain.mailbox import MOST_TAKES, Delivery, MailedTask
from app.domain.rounds import Evidence
from app.store.database import Database
from tests.store.samples import unsaid
from tests.store.statements import statements

NOW = 1_000.0
PROOF = Evidence(call="call", answer="answer", signature="signature")
TASK = MailedTask(
    id="t.1.a.fit", client_id="a", training_id="t", round=1, kind="fit", document='{"id": 1}', model="m" * 64,
    accept="zstd", most_bytes=2**40, offered_at=NOW, deadline_at=NOW + 60, traceparent="00-1-2-01",
)  # fmt: skip
RESULT = Delivery(result="r" * 64, size=5, coding="zstd", seconds=0.5, evidence=PROOF)


async def offer(db: Database, task: MailedTask = TASK) -> MailedTask:
    async with db.begin() as tx:
        return await tx.mailbox.offer(task)


async def find(db: Database, task_id: str = TASK.id) -> MailedTask | None:
    async with db.glance() as tx:
        return await tx.mailbox.find(task_id)


async def take(db: Database, task: MailedTask = TASK) -> None:
    async with db.begin() as tx:
        stored = await tx.mailbox.find(task.id, for_update=True)
        assert stored is not None
        await tx.mailbox.take(stored, NOW + 1, size=100, call="signed", seconds=59.0, digest="d" * 64)


async def deliver(db: Database, delivery: Delivery = RESULT) -> None:
    async with db.begin() as tx:
        stored = await tx.mailbox.find(TASK.id, for_update=True)
        assert stored is not None
        await tx.mailbox.deliver(stored, delivery, NOW + 9)


async def test_every_field_is_kept(db: Database) -> None:
    assert await offer(db) == TASK
    await take(db)
    await deliver(db)
    found = await find(db)
    assert found == replace(
        TASK, state="delivered", attempts=1, bytes_sent=100, taken_at=NOW + 1, call="signed",
        sent_seconds=59.0, sent_digest="d" * 64, delivered_at=NOW + 9,
        result="r" * 64, size=5, coding="zstd", seconds=0.5, evidence=RESULT.evidence,
    )  # fmt: skip
    assert found is not None
    assert unsaid(found) == {"failure", "moved_at"}


async def test_offering_again_keeps_what_an_open_task_has_come_to(db: Database) -> None:
    await offer(db)
    await take(db)
    again = await offer(db, replace(TASK, deadline_at=NOW + 99, model="n" * 64, traceparent="00-1-3-01"))
    assert (again.state, again.attempts, again.deadline_at, again.model) == ("taken", 1, NOW + 99, TASK.model)
    assert again.traceparent == "00-1-3-01"  # the span of an owner that was killed was never exported


async def test_two_owners_may_offer_a_task_at_the_same_time(db: Database) -> None:
    async with db.begin() as tx:
        await tx.mailbox.offer(TASK)
        second = asyncio.create_task(offer(db, replace(TASK, deadline_at=NOW + 99)))
        await asyncio.sleep(0.1)  # so that the second one waits for the first one
    assert (await second).deadline_at == NOW + 99


async def test_a_cancelled_task_is_offered_anew_and_its_bytes_stay_counted(db: Database) -> None:
    await offer(db)
    await take(db)
    async with db.begin() as tx:
        assert await tx.mailbox.cancel([TASK.id, "unknown"]) == {TASK.model}
        assert await tx.mailbox.cancel([TASK.id]) == set()
    again = await offer(db)
    assert (again.state, again.attempts, again.bytes_sent, again.model) == ("offered", 0, 100, TASK.model)


async def test_an_agent_gets_its_oldest_open_task_that_it_does_not_know(db: Database) -> None:
    second, other = replace(TASK, id="t.2.a.fit", offered_at=NOW + 1), replace(TASK, id="t.1.b.fit", client_id="b")
    late = replace(TASK, id="t.0.a.fit", offered_at=NOW - 9, deadline_at=NOW)
    for task in (TASK, second, other, late):
        await offer(db, task)
    async with db.glance() as tx:
        ids = [await tx.mailbox.untaken("a", known, NOW) for known in ([], [TASK.id], [TASK.id, second.id])]
    assert [task and task.id for task in ids] == [TASK.id, second.id, None]


async def test_a_glance_shows_what_was_not_cancelled_and_that_a_late_task_is_not_given(db: Database) -> None:
    await offer(db)
    await offer(db, replace(TASK, id="t.2.a.fit", deadline_at=NOW))
    async with db.glance() as tx:
        found = sorted(await tx.mailbox.glance(NOW))
    assert found == [(TASK.id, "a", "offered", True, None), ("t.2.a.fit", "a", "offered", False, None)]
    async with db.begin() as tx:
        await tx.mailbox.cancel([TASK.id, "t.2.a.fit"])
    async with db.glance() as tx:
        assert await tx.mailbox.glance(NOW) == []


async def test_a_task_that_its_agent_has_taken_too_often_is_not_given_again(db: Database) -> None:
    await offer(db)
    for _ in range(MOST_TAKES + 1):
        await take(db)
    async with db.glance() as tx:
        assert await tx.mailbox.untaken("a", (), NOW) is None
        assert await tx.mailbox.glance(NOW) == [(TASK.id, "a", "taken", False, None)]


async def test_a_glance_does_not_read_the_rows_of_cancelled_tasks(db: Database) -> None:
    if db.url.get_backend_name() != "sqlite":
        pytest.skip("Postgres reads a small table as a whole, whatever indices it has")
    async with db.glance() as tx:
        with statements() as said:
            await tx.mailbox.glance(NOW)
        given = tuple("x" * said[0].count("?"))
        plan = await tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said[0]}", given)
        assert [row.detail for row in plan if "tasks" in row.detail] == [
            "SEARCH tasks USING INDEX ix_tasks_state (state=?)"
        ]


async def test_a_second_delivery_changes_nothing(db: Database) -> None:
    await offer(db)
    await deliver(db)
    with pytest.raises(IllegalTransition):
        await deliver(db, replace(RESULT, result="x" * 64))
    found = await find(db)
    assert found is not None
    assert found.result == RESULT.result


async def test_only_cancelled_tasks_are_removed(db: Database) -> None:
    await offer(db)
    await offer(db, replace(TASK, id="t.2.a.fit", deadline_at=NOW + 120))
    async with db.begin() as tx:
        assert await tx.mailbox.expired(NOW + 61, 10) == [TASK.id]
        await tx.mailbox.remove([TASK.id])
        assert await tx.mailbox.find(TASK.id) is not None
        await tx.mailbox.cancel([TASK.id])
        await tx.mailbox.remove([TASK.id])
        assert await tx.mailbox.find(TASK.id) is None
        await tx.mailbox.tell()


async def test_files_that_a_task_names_are_not_removed(db: Database) -> None:
    name = "a" * 64
    await offer(db, replace(TASK, model=name))
    async with db.begin() as tx:
        await tx.removals.request([name], at_once=True)
        assert await tx.removals.due(600.0, 10) == [name]
        assert await tx.removals.begin(name) is None
        await tx.removals.request(await tx.mailbox.cancel([TASK.id]), at_once=True)
        assert await tx.removals.begin(name) is not None


async def test_a_glance_tells_when_the_bytes_of_an_open_task_moved(db: Database) -> None:
    await offer(db)
    async with db.begin() as tx:
        await tx.mailbox.move(TASK.id, NOW + 5)
        await tx.mailbox.move("unknown", NOW + 5)
    async with db.glance() as tx:
        assert await tx.mailbox.glance(NOW) == [(TASK.id, "a", "offered", True, NOW + 5)]
    await deliver(db)
    async with db.begin() as tx:
        await tx.mailbox.move(TASK.id, NOW + 9)
        found = await tx.mailbox.find(TASK.id)
    assert found is not None
    assert found.moved_at == NOW + 5


async def test_those_are_found_that_were_never_taken(db: Database) -> None:
    for name in "abc":
        await offer(db, replace(TASK, id=f"t.1.{name}.fit", client_id=name))
    await take(db, replace(TASK, id="t.1.b.fit"))
    async with db.read() as tx:
        assert await tx.mailbox.offered(["t.1.a.fit", "t.1.b.fit", "t.1.d.fit"]) == {"t.1.a.fit"}
        assert await tx.mailbox.offered([]) == set()
