"""Two drivers for SQLite, for two kinds of transaction; both give SQLAlchemy what aiosqlite gives it.

*Writers* wait for locks and disks, so their statements run in a thread: aiosqlite's, but with one trip there for each
statement. aiosqlite makes four, to make a cursor, execute, fetch and close, and each waits for its turn both in the
thread and on the event loop; on a busy loop that is all of a statement's time.

*Readers* wait for nothing: with a write-ahead log no writer holds them up, and what they look for is mostly in memory.
They run on the event loop itself, where a statement takes less time than a trip to a thread and back, and so a reading
transaction that does nothing else takes one turn of the loop.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, Self

import aiosqlite

from app.threads import in_thread
from tcsfeel import private

BUSY_SECONDS = 30
WAL_ATTEMPTS, WAL_PAUSE = 100, 0.02
_ROWS = 64  # that aiosqlite's own iteration would fetch at a time; nothing iterates here

Statement = Callable[[sqlite3.Connection], sqlite3.Cursor]


class Runs(Protocol):
    """Runs a statement and fills a cursor with its result."""

    async def run(self, cursor: "Cursor", statement: Statement) -> None: ...


class Cursor:
    """The result of one statement, fetched whole."""

    arraysize = 1

    def __init__(self, connection: Runs) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Any = ()) -> Self:
        await self._connection.run(self, lambda connection: connection.execute(statement, parameters))
        return self

    async def executemany(self, statement: str, parameters: Any) -> Self:
        await self._connection.run(self, lambda connection: connection.executemany(statement, parameters))
        return self

    async def fetchall(self) -> Sequence[Any]:
        rows, self._rows = self._rows, ()
        return rows

    async def close(self) -> None:
        """Nothing is left to close."""

    def fill(self, connection: sqlite3.Connection, statement: Statement) -> None:
        """Run `statement` in the calling thread."""
        cursor = statement(connection)
        try:
            self.description = cursor.description
            self._rows = () if cursor.description is None else cursor.fetchall()
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()


class Writer(aiosqlite.Connection):
    """Runs statements in a thread of its own."""

    def __init__(self, path: str, *, foreign_keys: bool) -> None:
        super().__init__(partial(_open_for_writing, path, foreign_keys=foreign_keys), _ROWS)
        self._thread.daemon = True  # as SQLAlchemy has it where it makes the connection itself

    def __await__(self) -> Any:
        return self._start().__await__()

    async def _start(self) -> Self:
        self._thread.start()
        try:
            await self._connect()
        except BaseException:
            await in_thread("administration", self._thread.join)  # or its last word could find the event loop closed
            raise
        return self

    def cursor(self) -> Cursor:  # type: ignore[override]  # SQLAlchemy waits for what a cursor does, not for it
        return Cursor(self)

    async def run(self, cursor: Cursor, statement: Statement) -> None:
        await self._execute(cursor.fill, self._conn, statement)  # type: ignore[no-untyped-call]  # it has no types


class Reader:
    """Runs statements where it is, and refuses to write."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None  # SQLAlchemy asks it whether it is open

    def __await__(self) -> Any:
        return self._open().__await__()

    async def _open(self) -> Self:
        self._connection = _open(self._path, "query_only=ON")
        return self

    def begin(self) -> None:
        """Begin a transaction; its snapshot is taken by its first statement."""
        self._open_connection.execute("BEGIN")

    def cursor(self) -> Cursor:
        return Cursor(self)

    async def run(self, cursor: Cursor, statement: Statement) -> None:
        cursor.fill(self._open_connection, statement)

    async def commit(self) -> None:
        self._open_connection.commit()

    async def rollback(self) -> None:
        self._open_connection.rollback()

    async def create_function(self, *args: Any, **kwargs: Any) -> None:
        self._open_connection.create_function(*args, **kwargs)

    async def close(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Close at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError("no active connection")  # the words that SQLAlchemy knows
        return self._connection


def _open_for_writing(path: str, *, foreign_keys: bool) -> sqlite3.Connection:
    connection = _open(path, "synchronous=NORMAL", f"foreign_keys={'ON' if foreign_keys else 'OFF'}")
    try:
        _use_wal(connection)
    except BaseException:  # not a database, say
        connection.close()
        raise
    return connection


def _open(path: str, *pragmas: str) -> sqlite3.Connection:
    """A connection in autocommit mode: the driver must not begin transactions on its own."""
    with suppress(OSError):  # SQLite will say what is wrong; it gives the files beside this one the mode of this one
        private.make_file(path)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    for pragma in pragmas:  # these say how to deal with the file, and do not look at it yet
        connection.execute(f"PRAGMA {pragma}").close()
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log; of several that do this to a new file, SQLite refuses some at once."""
    for attempts_left in reversed(range(WAL_ATTEMPTS)):
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if attempts_left == 0 or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(WAL_PAUSE)
        else:
            return
