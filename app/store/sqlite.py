"""Two drivers for SQLite, for two kinds of transactions. SQLAlchemy calls both in the same way as aiosqlite.

*Readers* do not wait: with a write-ahead log, no writer blocks them, and the data that they read is mostly in memory.
They run on the event loop itself, where a statement takes less time than a trip to a thread and back. So a transaction
that only reads takes one turn of the loop.

*Writers* wait for the disk when they commit, and for the file's lock when they begin, if another process has it. They
do this in a separate thread. In between, they hold the lock and change pages in memory, so short statements also run on
the event loop. A trip to the thread has to wait for its turn both in the thread and on the loop. On a busy loop, a
transaction with a trip for each statement would hold the lock for many turns, while other writers wait.
"""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

from app.data_directory import make_file
from app.threads import OneThread

BEGIN = "BEGIN IMMEDIATE"
BUSY_SECONDS = 30
WAL_ATTEMPTS, WAL_PAUSE = 100, 0.02

SHORT_VALUES = 1024  # that a statement may write or search for, if it is to run on the event loop
SHORT_SECONDS = 0.002  # of processor time that it may have taken the last time
TURN_SECONDS = 0.002  # for which statements of one transaction may follow each other without a pause for the loop
_KIND = 0xFF  # the part of an SQLite error code that says which kind it is
_LONG_KNOWN = 256  # statements that are known to be long; then all are tried again


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement to execute, once or for each of many `parameters`."""

    text: str
    parameters: Any
    many: bool = False

    def __call__(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        return (connection.executemany if self.many else connection.execute)(self.text, self.parameters)

    @property
    def seems_short(self) -> bool:
        """Tell whether it seems to touch few rows. A deleted row may be referenced by thousands of others."""
        values = sum(map(len, self.parameters)) if self.many else len(self.parameters)
        return values <= SHORT_VALUES and not self.text.startswith("DELETE")


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
        await self._connection.run(self, Statement(statement, parameters))
        return self

    async def executemany(self, statement: str, parameters: Any) -> Self:
        await self._connection.run(self, Statement(statement, parameters, many=True))
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


class _Driver:
    """The common part of readers and writers: a connection of the standard library."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None  # SQLAlchemy checks this to see whether it is open

    def cursor(self) -> Cursor:
        return Cursor(self)

    async def run(self, cursor: Cursor, statement: Statement) -> None:
        cursor.fill(self._open_connection, statement)

    async def create_function(self, *args: Any, **kwargs: Any) -> None:
        self._open_connection.create_function(*args, **kwargs)

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError("no active connection")  # the words that SQLAlchemy knows
        return self._connection


class Writer(_Driver):
    """Runs statements that may wait or take long in a separate thread, and others on the event loop."""

    def __init__(self, path: str, *, foreign_keys: bool) -> None:
        super().__init__()
        # Deleted bytes, such as a token before it was encrypted, are overwritten. Not every SQLite does it by default.
        pragmas = ("synchronous=NORMAL", "secure_delete=ON", f"foreign_keys={'ON' if foreign_keys else 'OFF'}")
        self._open = partial(_open, path, *pragmas, is_writer=True)
        self._thread = OneThread("tcsfeel-sqlite")
        self._long: set[str] = set()  # statements that took long
        self._turn = 0.0  # when this turn of the loop began, or before
        self._is_locking = False  # between the begin of a transaction and its end
        self._is_over = True  # the thread has finished its work for the last transaction

    def __await__(self) -> Any:
        return self._connected().__await__()

    async def _connected(self) -> Self:
        try:
            await self._thread.run(self._connect)
        except BaseException:
            self.stop()
            raise
        return self

    def _connect(self) -> None:
        self._connection = self._open()

    async def commit(self) -> None:
        self._is_locking = False  # the thread may need longer for it than the caller waits
        await self._thread.run(self._open_connection.commit)
        self._is_over = True

    async def rollback(self) -> None:
        self._is_locking = False
        if not self._is_over:  # else it is the pool, which asks for it in any case
            await self._thread.run(self._open_connection.rollback)
            self._is_over = True

    async def close(self) -> None:
        """Close once the thread has finished all of its work."""
        if self._connection is None:
            return
        try:
            await self._thread.run(self._disconnect)
        finally:
            self._thread.end()

    def stop(self) -> None:
        """Begin to `close`, without waiting for the end."""
        self._thread.end(self._disconnect)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def run(self, cursor: Cursor, statement: Statement) -> None:
        if not self._is_locking and statement.text == BEGIN and self._is_over and self._has_begun():
            self._is_over = False
        elif not self._is_locking or statement.text in self._long or not statement.seems_short:
            self._is_over = False
            await self._thread.run(partial(cursor.fill, self._open_connection, statement))
        else:
            await self._run_here(cursor, statement)
            return
        self._is_locking = self._is_locking or statement.text == BEGIN
        self._turn = time.monotonic()

    def _has_begun(self) -> bool:
        """Begin a transaction, unless another process has the lock, since only the thread can wait for that."""
        self._open_connection.execute("PRAGMA busy_timeout=0").close()
        try:
            self._open_connection.execute(BEGIN).close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _KIND != sqlite3.SQLITE_BUSY:
                raise
            return False
        finally:
            self._open_connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}").close()
        return True

    async def _run_here(self, cursor: Cursor, statement: Statement) -> None:
        """Run a short statement on the event loop."""
        if time.monotonic() - self._turn > TURN_SECONDS:
            await asyncio.sleep(0)
            self._turn = time.monotonic()
        began = time.thread_time()
        cursor.fill(self._open_connection, statement)
        if time.thread_time() - began > SHORT_SECONDS:
            if len(self._long) >= _LONG_KNOWN:
                self._long.clear()
            self._long.add(statement.text)


class Reader(_Driver):
    """Runs statements on the event loop, and refuses to write."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def __await__(self) -> Any:
        return self._connected().__await__()

    async def _connected(self) -> Self:
        self._connection = _open(self._path, "query_only=ON")
        return self

    def begin(self) -> None:
        """Begin a transaction; its snapshot is taken by its first statement."""
        self._open_connection.execute("BEGIN")

    async def commit(self) -> None:
        self._open_connection.commit()

    async def rollback(self) -> None:
        self._open_connection.rollback()

    async def close(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Close at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _open(path: str, *pragmas: str, is_writer: bool = False) -> sqlite3.Connection:
    """Open a connection in autocommit mode, in which the driver does not begin transactions itself."""
    with suppress(OSError):  # SQLite will report what is wrong; it gives the files beside this one the same mode
        make_file(path)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in pragmas:  # some of them read the file
            connection.execute(f"PRAGMA {pragma}").close()
        if is_writer:
            _use_wal(connection)
    except BaseException:  # the file is not a database, for example
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log. If several processes do this to a new file, SQLite refuses some at once."""
    for attempts_left in reversed(range(WAL_ATTEMPTS)):
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if attempts_left == 0 or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(WAL_PAUSE)
        else:
            return
