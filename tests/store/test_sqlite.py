"""The drivers for SQLite, as SQLAlchemy calls them."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.store.sqlite import Reader, Writer


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    connection = Writer(str(tmp_path / "file.db"), foreign_keys=True)
    await connection
    await connection.cursor().execute("CREATE TABLE numbers (it INTEGER)")
    yield connection
    await connection.close()


@pytest.fixture
async def reader(writer: Writer, tmp_path: Path) -> AsyncIterator[Reader]:
    del writer  # it made the file
    connection = await Reader(str(tmp_path / "file.db"))
    yield connection
    await connection.close()


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
    assert not writer._thread.is_alive(), "it would answer to an event loop that may be closed by then"
