"""What one process notes for the audit trail is written soon, once, and never lost without a word."""

import asyncio
import json
import stat
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.domain.audit import KINDS, KINDS_OF_ACTOR, SEVERAL, Call, hashed_fields
from app.services.access.audit import UNWRITTEN, WRITTEN_TOGETHER, AuditTrail, AuditTrailFull
from app.store.audit import AuditFilter
from app.store.availability import DatabaseUnavailable
from app.store.database import Database
from tcsfeel.audit import Chain
from tests.clocks import FakeClock

CALL = Call(actor="anna", operation="POST /v1/clients", status=201, parameters=(("client_id", "a"),))
REFUSED = replace(CALL, status=403)


class Broken(Database):
    """A database that takes no transaction while it is broken."""

    is_broken = True

    @asynccontextmanager
    async def begin(self) -> Any:
        if self.is_broken:
            raise DatabaseUnavailable("gone")
        async with super().begin() as tx:
            yield tx


def trail(db: Database, tmp_path: Path, *, write_db: Database | None = None, **options: Any) -> AuditTrail:
    return AuditTrail(
        db, write_db or db, options.pop("clock", FakeClock()), name="server-1", directory=tmp_path, **options
    )


async def written(trail: AuditTrail) -> list[tuple[str, int, int]]:
    """Every record's operation, status and count. They have to be a chain, whose head is the trail's."""
    found = (await trail.after(0, only=AuditFilter(), limit=10_000)).items
    chain = Chain()
    for record in found:
        chain.check(hashed_fields(record) | {"hash": record.hash})
    assert (await trail.head()).hash == chain.head
    return [(record.operation, record.status, record.count) for record in found]


async def test_what_was_noted_is_read_at_once(db: Database, tmp_path: Path) -> None:
    audit = trail(db, tmp_path)
    for _ in range(WRITTEN_TOGETHER + 1):
        audit.record(CALL)
    audit.count(REFUSED)
    audit.count(REFUSED)
    assert await written(audit) == [*[(CALL.operation, 201, 1)] * (WRITTEN_TOGETHER + 1), (CALL.operation, 403, 1)]


async def test_identical_calls_are_written_once_a_minute(sqlite: Database, tmp_path: Path) -> None:
    clock = FakeClock()
    audit = trail(sqlite, tmp_path, clock=clock)
    for _ in range(1000):
        audit.count(REFUSED)
    assert await written(audit) == [(CALL.operation, 403, 1)]
    clock.advance(60.0)
    assert await written(audit) == [(CALL.operation, 403, 1), (CALL.operation, 403, 999)]


async def test_a_download_is_never_merged_with_other_calls(sqlite: Database, tmp_path: Path) -> None:
    audit = trail(sqlite, tmp_path)
    for number in range(KINDS + 2):
        call = replace(CALL, operation="GET model", status=200, parameters=(("training_id", str(number)),))
        for _ in range(2):
            audit.count(call)
            audit.count(replace(call, status=403))
    await audit.close()
    found = await written(audit)
    done = [count for operation, status, count in found if (operation, status) == ("GET model", 200)]
    assert done == [1] * (2 * KINDS + 4)
    assert [status for operation, status, _ in found if operation == SEVERAL] == [403, 403]
    assert sum(count for _, status, count in found if status == 403) == 2 * (KINDS + 2)
    assert [status for operation, status, _ in found if operation == "GET model"].count(403) == 2 * KINDS_OF_ACTOR


async def waits(heard: asyncio.Queue[int], count: int) -> None:
    """Return once so many records wait."""
    while await heard.get() != count:
        pass


async def test_the_loop_writes_its_start_and_what_is_noted(sqlite: Database, tmp_path: Path) -> None:
    audit = trail(sqlite, tmp_path, delay=0.0)
    heard: asyncio.Queue[int] = asyncio.Queue()
    audit.note_waiting = heard.put_nowait
    loop = asyncio.create_task(audit.run())
    await waits(heard, 1)
    await waits(heard, 0)
    audit.record(CALL)
    await waits(heard, 1)
    await waits(heard, 0)
    loop.cancel()
    async with sqlite.read() as tx:
        found = (await tx.audit.after(0, only=AuditFilter(), limit=10)).items
    assert [(record.actor, record.role, record.operation) for record in found] == [
        ("server-1", "server", "start"),
        ("anna", None, CALL.operation),
    ]


async def test_at_the_end_everything_is_written(sqlite: Database, tmp_path: Path) -> None:
    audit = trail(sqlite, tmp_path)
    audit.record(CALL)
    for _ in range(3):
        audit.count(REFUSED)
    await audit.close()
    assert await written(audit) == [
        (CALL.operation, 201, 1),
        (CALL.operation, 403, 1),
        (CALL.operation, 403, 2),
        ("stop", 0, 1),
    ]
    assert not (tmp_path / UNWRITTEN).exists()


async def test_an_outage_is_told_once_and_delays_the_records(sqlite_url: str, sqlite: Database, tmp_path: Path) -> None:
    broken = Broken(sqlite_url)
    audit = trail(sqlite, tmp_path, write_db=broken)
    audit.record(CALL)
    with capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                await audit.write()
        broken.is_broken = False
        assert await written(audit) == [(CALL.operation, 201, 1)]
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("audit records cannot be written", "warning"),
        ("audit records can be written again", "info"),
    ]
    await broken.dispose()


async def test_without_a_free_place_no_change_begins_and_refusals_are_only_counted(
    sqlite_url: str, sqlite: Database, tmp_path: Path
) -> None:
    broken = Broken(sqlite_url)
    audit = trail(sqlite, tmp_path, write_db=broken, most=3)
    audit.record(CALL)
    audit.take_place()
    audit.take_place()
    assert audit.is_full
    with pytest.raises(AuditTrailFull):
        audit.take_place()
    with pytest.raises(AuditTrailFull):
        audit.check_place()
    audit.count(REFUSED)
    audit.give_back_place()
    for _ in range(3):
        audit.check_place()  # which keeps none
    audit.take_place()
    audit.give_back_place()
    audit.give_back_place()
    audit.take_place()
    broken.is_broken = False
    assert await written(audit) == [(CALL.operation, 201, 1)]
    await audit.close()
    assert await written(audit) == [(CALL.operation, 201, 1), (CALL.operation, 403, 1), ("stop", 0, 1)]
    await broken.dispose()


async def test_what_the_database_does_not_take_at_the_end_is_kept_in_a_file(
    sqlite_url: str, sqlite: Database, tmp_path: Path
) -> None:
    broken = Broken(sqlite_url)
    audit = trail(sqlite, tmp_path / "data", write_db=broken)
    audit.record(CALL)
    with capture_logs() as lines:
        await audit.close()
    path = tmp_path / "data" / UNWRITTEN
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["actor"], one["operation"], one["parameters"]) for one in kept] == [
        ("anna", CALL.operation, {"client_id": "a"}),
        ("server-1", "stop", {}),
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert lines[-1]["records"] == 2
    await broken.dispose()


class Slow(Database):
    """A database whose transactions end when the test lets them."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def begin(self) -> Any:
        async with super().begin() as tx:
            yield tx
            self.begun.set()
            await self.may_end.wait()


async def test_a_loop_that_is_cancelled_while_it_writes_writes_nothing_twice(
    sqlite_url: str, sqlite: Database, tmp_path: Path
) -> None:
    slow = Slow(sqlite_url)
    audit = trail(sqlite, tmp_path, write_db=slow, delay=0.0)
    loop = asyncio.create_task(audit.run())
    await slow.begun.wait()
    loop.cancel()
    await asyncio.wait({loop})
    slow.may_end.set()
    await audit.close()
    assert await written(audit) == [("start", 0, 1), ("stop", 0, 1)]
    await slow.dispose()
