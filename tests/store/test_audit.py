"""The audit trail, on both databases: one chain without gaps, whoever writes it."""

import asyncio
from dataclasses import replace
from typing import Any

from app.domain.audit import AuditRecord, Call, Head, hashed_fields
from app.store.audit import AuditFilter
from app.store.database import Database
from tcsfeel.audit import GENESIS, Chain

FULL = Call(
    actor="anna",
    role="operator",
    key_id="k-1",
    address="fd00::1",
    operation="DELETE /v1/clients/{client_id}",
    parameters=(("a", "1"), ("client_id", "edge-ü")),
    status=204,
    request_id="r-1",
    count=3,
)
LEAST = Call(actor="server-1", operation="start")


async def append(db: Database, *calls: Call, age: float = 0.0) -> Head:
    async with db.begin() as tx:
        return await tx.audit.append([(call, age) for call in calls])


async def records(db: Database, after: int = 0, *, limit: int = 10_000, **only: Any) -> list[AuditRecord]:
    async with db.read() as tx:
        return (await tx.audit.after(after, only=AuditFilter(**only), limit=limit)).items


def verified(found: list[AuditRecord]) -> Chain:
    chain = Chain()
    for record in found:
        chain.check(hashed_fields(record) | {"hash": record.hash})
    return chain


async def test_a_call_comes_back_as_it_was_appended(db: Database) -> None:
    head = await append(db, FULL, LEAST)
    first, second = await records(db)
    assert (first.sequence, second.sequence, first.previous, second.previous) == (1, 2, GENESIS, first.hash)
    for call, record in ((FULL, first), (LEAST, second)):
        assert replace(record, sequence=0, at=0.0, previous="", hash="") == AuditRecord(
            **{name: getattr(call, name) for name in Call.__slots__}, sequence=0, at=0.0, previous=""
        )
    assert head == Head(2, second.hash, second.at)
    assert verified([first, second]).head == second.hash


async def test_the_time_is_the_databases_when_the_call_was_made(db: Database) -> None:
    async with db.read() as tx:
        before = await tx.now()
    await append(db, LEAST, age=100.0)
    await append(db, LEAST, age=-5.0)
    async with db.read() as tx:
        after = await tx.now()
    earlier, now = await records(db)
    rounding = 1e-6
    assert before - 100.0 - rounding <= earlier.at <= after - 100.0 + rounding
    assert before - rounding <= now.at <= after + rounding


async def test_writers_at_the_same_time_make_one_chain_without_gaps(db: Database) -> None:
    other = Database(db.url.render_as_string(hide_password=False))
    calls = [replace(FULL, request_id=f"r-{number}") for number in range(40)]
    await asyncio.gather(*(append((db, other)[number % 2], calls[number], LEAST) for number in range(40)))
    await other.dispose()
    found = await records(db)
    assert [record.sequence for record in found] == list(range(1, 81))
    chain = verified(found)
    assert {record.request_id for record in found} == {None, *(call.request_id for call in calls)}
    async with db.read() as tx:
        assert (await tx.audit.head()).hash == chain.head


async def test_before_the_first_record_the_head_is_the_genesis(db: Database) -> None:
    async with db.read() as tx:
        assert await tx.audit.head() == Head(0, GENESIS)
    assert await append(db) == Head(0, GENESIS)


async def test_records_are_read_in_pages(db: Database) -> None:
    await append(db, *(replace(LEAST, status=number) for number in range(7)))
    async with db.read() as tx:
        first = await tx.audit.after(0, only=AuditFilter(), limit=4)
        second = await tx.audit.after(first.items[-1].sequence, only=AuditFilter(), limit=4)
    assert ([record.status for record in first.items], first.more) == ([0, 1, 2, 3], True)
    assert ([record.status for record in second.items], second.more) == ([4, 5, 6], False)


async def test_filters_hold_together(db: Database) -> None:
    await append(db, LEAST, replace(FULL, status=403), replace(FULL, status=500, actor="bert"), age=1000.0)
    await append(db, FULL)
    first, refused, failed, last = await records(db)
    assert await records(db, actor="anna") == [refused, last]
    assert await records(db, operation="start") == [first]
    assert await records(db, result="done") == [first, last]
    assert await records(db, result="refused") == [refused]
    assert await records(db, result="failed") == [failed]
    assert await records(db, since=last.at) == [last]
    assert await records(db, until=last.at) == [first, refused, failed]
    assert await records(db, actor="anna", since=last.at) == [last]
    assert await records(db, actor="anna", result="failed") == []


async def test_the_oldest_records_are_removed_and_the_rest_stays_one_chain(db: Database) -> None:
    await append(db, LEAST, LEAST, LEAST, age=1000.0)
    await append(db, FULL)
    await append(db, LEAST, age=1000.0)
    every = await records(db)
    async with db.begin() as tx:
        assert await tx.audit.remove_oldest(before=every[3].at - 1, limit=2) == 2
    async with db.begin() as tx:
        assert await tx.audit.remove_oldest(before=every[3].at - 1, limit=100) == 1  # not the one after a newer one
    rest = await records(db)
    assert rest == every[3:]
    assert verified(rest).anchor == every[2].hash


async def test_the_newest_record_always_stays(db: Database) -> None:
    head = await append(db, LEAST, LEAST, age=1000.0)
    async with db.begin() as tx:
        assert await tx.audit.remove_oldest(before=head.at + 1 if head.at else 0, limit=100) == 1
    assert (await append(db, LEAST)).sequence == 3
