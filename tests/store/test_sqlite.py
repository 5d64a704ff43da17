"""The drivers for SQLite, as SQLAlchemy calls them."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.store.sqlite import SHORT_VALUES, Reader, Writer

PATIENCE = 10.0  # seconds after which a loop that was not given away counts as kept


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    connection = Writer(str(tmp_path / "file.db"), foreign_keys=True)
    await connection
    await connection.cursor().execute("CREATE TABLE numbers (it INTEGER)")
    await connection.rollback()  # as the pool does with every connection that comes back
    yield connection
    with suppress(RuntimeError):  # the test has stopped it
        await connection.close()


@pytest.fixture
async def reader(writer: Writer, tmp_path: Path) -> AsyncIterator[Reader]:
    del writer  # it made the file
    connection = await Reader(str(tmp_path / "file.db"))
    yield connection
    await connection.close()


@pytest.fixture
async def threads(writer: Writer) -> list[int]:
    """The threads in which `noted()` was called by a statement; it is 0."""
    seen: list[int] = []

    def noted() -> int:
        seen.append(threading.get_ident())
        return 0

    await writer.create_function("noted", 0, noted)
    return seen


async def test_a_statement_brings_all_its_rows_and_what_it_did(writer: Writer) -> None:
    cursor = await writer.cursor().executemany("INSERT INTO numbers VALUES (?)", [(1,), (2,), (3,)])
    assert (cursor.rowcount, cursor.description) == (3, None)
    assert await cursor.fetchall() == ()

    cursor = await writer.cursor().execute("SELECT it FROM numbers WHERE it > ? ORDER BY it", (1,))
    assert cursor.description[0][0] == "it"
    assert await cursor.fetchall() == [(2,), (3,)]
    assert await cursor.fetchall() == ()


async def test_a_statement_that_fails_leaves_the_connection_usable(writer: Writer) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await writer.cursor().execute("SELECT * FROM missing")
    assert await (await writer.cursor().execute("SELECT 1")).fetchall() == [(1,)]


async def test_a_reader_reads_a_snapshot_without_waiting_for_the_writer(writer: Writer, reader: Reader) -> None:
    await writer.cursor().execute("BEGIN IMMEDIATE")
    await writer.cursor().execute("INSERT INTO numbers VALUES (1)")
    reader.begin()
    assert await (await reader.cursor().execute("SELECT count(*) FROM numbers")).fetchall() == [(0,)]
    await writer.commit()
    assert await (await reader.cursor().execute("SELECT count(*) FROM numbers")).fetchall() == [(0,)]
    await reader.rollback()
    assert await (await reader.cursor().execute("SELECT count(*) FROM numbers")).fetchall() == [(1,)]


async def test_a_reader_does_not_give_the_event_loop_away(reader: Reader) -> None:
    statement = reader.cursor().execute("SELECT 1")
    with pytest.raises(StopIteration):  # it ran to its end at once
        statement.send(None)


async def test_short_statements_of_a_transaction_that_has_begun_run_where_they_are(
    writer: Writer, threads: list[int]
) -> None:
    await writer.cursor().execute("BEGIN IMMEDIATE")
    await writer.cursor().execute("INSERT INTO numbers VALUES (noted() + ?)", (1,))
    await writer.cursor().executemany("UPDATE numbers SET it = noted() + ? WHERE it = ?", [(2, 1)])
    await writer.cursor().execute("SELECT noted()")
    assert threads == 3 * [threading.get_ident()]
    await writer.commit()
    assert await (await writer.cursor().execute("SELECT it FROM numbers")).fetchall() == [(2,)]


async def test_a_transaction_begins_at_once_where_nobody_else_writes(writer: Writer) -> None:
    begin = writer.cursor().execute("BEGIN IMMEDIATE")
    with pytest.raises(StopIteration):
        begin.send(None)
    await writer.rollback()


async def test_a_lock_of_another_process_is_waited_for_in_the_thread(writer: Writer, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "file.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begin = asyncio.create_task(writer.cursor().execute("BEGIN IMMEDIATE"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # which would not return if it waited here
    assert not begin.done()
    other.rollback()
    other.close()
    await begin
    await writer.cursor().execute("INSERT INTO numbers VALUES (1)")
    await writer.commit()
    assert await (await writer.cursor().execute("SELECT it FROM numbers")).fetchall() == [(1,)]


async def test_what_may_wait_or_take_long_runs_in_the_thread(writer: Writer, threads: list[int]) -> None:
    await writer.cursor().execute("SELECT noted()")  # outside of a transaction: it may have to wait for a lock
    await writer.cursor().execute("BEGIN IMMEDIATE")
    rows = [(number,) for number in range(SHORT_VALUES + 1)]
    await writer.cursor().executemany("INSERT INTO numbers VALUES (?)", rows)
    await writer.cursor().execute("DELETE FROM numbers WHERE it = noted()")  # which may take thousands of rows along
    await writer.rollback()
    assert set(threads) - {threading.get_ident()} == set(threads)
    assert len(threads) > 1


async def test_a_statement_that_took_long_once_runs_in_the_thread_from_then_on(
    writer: Writer, threads: list[int]
) -> None:
    adding = "WITH RECURSIVE n (it) AS (SELECT 1 UNION ALL SELECT it + 1 FROM n LIMIT 300000) SELECT sum(it)"
    adding = f"{adding} + noted() FROM n"
    await writer.cursor().execute("BEGIN IMMEDIATE")
    for _ in range(2):
        await writer.cursor().execute(adding)
    await writer.cursor().execute("SELECT noted()")
    await writer.rollback()
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [True, False, True]


async def test_a_statement_behind_a_commit_that_nobody_waited_for_does_not_run_beside_it(
    writer: Writer, threads: list[int]
) -> None:
    await writer.cursor().execute("BEGIN IMMEDIATE")
    commit = asyncio.create_task(writer.commit())
    await asyncio.sleep(0)  # it is in the thread
    commit.cancel()
    await writer.cursor().execute("SELECT noted()")
    await asyncio.gather(commit, return_exceptions=True)
    assert threads[0] != threading.get_ident()


async def test_a_long_transaction_lets_others_have_the_loop(writer: Writer) -> None:
    await writer.cursor().execute("BEGIN IMMEDIATE")
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            await asyncio.sleep(0)
            passes += 1

    counting = asyncio.create_task(count())
    end = time.monotonic() + PATIENCE
    while passes == 0 and time.monotonic() < end:
        await writer.cursor().execute("SELECT 1")
    counting.cancel()
    assert passes >= 1
    await writer.rollback()


async def test_a_reader_refuses_to_write(reader: Reader) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await reader.cursor().execute("INSERT INTO numbers VALUES (1)")


async def test_a_reader_that_is_closed_says_so(reader: Reader) -> None:
    await reader.close()
    with pytest.raises(ValueError, match="no active connection"):
        await reader.cursor().execute("SELECT 1")


async def test_a_file_that_is_no_database_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    path.write_bytes(b"no database" * 1000)
    writer = Writer(str(path), foreign_keys=True)
    with pytest.raises(sqlite3.DatabaseError):
        await writer
    for thread in threading.enumerate():
        if thread.name == "tcsfeel-sqlite":
            thread.join(10)
            assert not thread.is_alive()


async def test_a_writer_that_is_closed_says_so(writer: Writer) -> None:
    await writer.close()
    await writer.close()  # which SQLAlchemy may do
    with pytest.raises(ValueError, match="no active connection"):
        await writer.cursor().execute("SELECT 1")


async def test_a_writer_that_is_stopped_ends_what_it_was_told_before(writer: Writer, tmp_path: Path) -> None:
    await writer.cursor().execute("BEGIN IMMEDIATE")
    await writer.cursor().execute("INSERT INTO numbers VALUES (1)")
    commit = asyncio.create_task(writer.commit())
    await asyncio.sleep(0)  # it is in the thread
    writer.stop()
    await commit
    other = sqlite3.connect(tmp_path / "file.db")
    assert other.execute("SELECT it FROM numbers").fetchall() == [(1,)]
    other.close()
    with pytest.raises((RuntimeError, ValueError)):
        await writer.cursor().execute("SELECT 1")


def is_open(path: Path) -> bool:
    """Tell whether this process has the file open."""
    return any(link.exists() and link.samefile(path) for link in Path("/dev/fd").iterdir())


async def test_a_file_that_is_no_database_is_closed_again(tmp_path: Path) -> None:
    """The caller still has the error, whose traceback would otherwise keep the file open."""
    path = tmp_path / "file.db"
    path.write_text("no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError, match="file is not a database") as refused:
        await Writer(str(path), foreign_keys=True)
    assert refused.tb is not None
    assert not is_open(path)
