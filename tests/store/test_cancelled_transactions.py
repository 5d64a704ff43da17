"""Transactions that are cancelled at any moment, also twice: they end properly, and no connection is lost."""

import asyncio
import contextlib
import gc
import logging
from pathlib import Path

import pytest
from sqlalchemy import text

from app.store.database import Database

MOMENTS = 40  # turns of the event loop until the first cancellation
MAKE, ADD = text("CREATE TABLE IF NOT EXISTS numbers (number INTEGER)"), text("INSERT INTO numbers VALUES (1)")


async def write(db: Database) -> None:
    async with db.begin() as tx:
        await tx.connection.execute(MAKE)
        await tx.connection.execute(ADD)


async def cancelled(db: Database, moment: int, again: int | None) -> None:
    """Write, and be cancelled after so many turns of the event loop, and perhaps once more after `again` turns."""
    task = asyncio.create_task(write(db))
    for turns in (moment, again):
        for _ in range(turns or 0):
            await asyncio.sleep(0.0002)  # the thread of the connection gets a turn too
        if turns is not None:
            task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("again", [None, 0, 1, 3])
async def test_a_connection_that_is_being_opened_is_closed(
    tmp_path: Path, again: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Each was left open, with its thread, and warned of that when Python collected it."""
    for moment in range(MOMENTS):
        db = Database(f"sqlite+aiosqlite:///{tmp_path}/{moment}.db")
        await cancelled(db, moment, again)
        await db.dispose()
        del db
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("again", [None, 0, 1, 3])
async def test_a_rollback_is_not_cut_short(db: Database, again: int | None, caplog: pytest.LogCaptureFixture) -> None:
    """The log said "Exception during reset or similar", at the level of errors."""
    await write(db)
    for moment in range(MOMENTS):
        await cancelled(db, moment, again)
        await write(db)
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    async with db.read() as tx:
        (count,) = (await tx.connection.execute(text("SELECT count(*) FROM numbers"))).one()
    assert MOMENTS + 1 <= count <= 2 * MOMENTS + 1
