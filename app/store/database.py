"""One database, SQLite or Postgres, and the only way to a transaction.

``async with db.begin() as tx`` is a write transaction: it commits when the block ends and rolls back when it raises.
``db.read()`` is a read-only snapshot. On SQLite, writers take the write lock when they begin (a transaction that reads
first and writes later could otherwise fail half-way), and writers of one process queue on a lock of ours, which is
fairer and cheaper than the file's.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from asyncpg import PostgresError
from sqlalchemy import Double, cast, event, func
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.elements import ColumnElement

from app.store.transaction import Transaction

BUSY_SECONDS = 30
CONNECT_SECONDS = 10
WAL_ATTEMPTS, WAL_PAUSE = 100, 0.02
IDLE_SECONDS = 10  # between two statements of a transaction
_UNIX_EPOCH_JULIAN_DAY = 2440587.5
_WRITES = "tcsfeel_writes"
_PASSING = {"08", "40", "53", "57"}  # connection, transaction rollback, insufficient resources, operator intervention


class DatabaseUnavailable(ConnectionError):
    """No connection can be had now."""


def is_outage(error: BaseException) -> bool:
    """Whether the same statement may well succeed in a moment: SQLSTATE says so, or the connection is gone."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_outage(part) for part in error.exceptions)
    if isinstance(error, DatabaseUnavailable):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return error.connection_invalidated or isinstance(error, OperationalError) or state[:2] in _PASSING


def in_a_line(error: BaseException) -> str:
    """What happened, without the statement and the advice that SQLAlchemy adds."""
    if isinstance(error, BaseExceptionGroup):
        return in_a_line(error.exceptions[0])
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return " ".join(f"{type(cause).__name__}: {cause}".split())[:300]


class Database:
    """An engine with the rules above. `url` is ``sqlite+aiosqlite:///…`` or ``postgresql+asyncpg://…``.

    Only migrations do without `foreign_keys`: they rebuild tables on SQLite, and dropping the old one would cascade.
    """

    def __init__(self, url: str, *, pool_size: int = 10, foreign_keys: bool = True) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._writer = asyncio.Lock() if self.is_sqlite else None
        self._engine = (
            _sqlite_engine(url, pool_size, foreign_keys=foreign_keys)
            if self.is_sqlite
            else _postgres_engine(url, pool_size)
        )

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        """A write transaction. Raises `DatabaseUnavailable`."""
        async with AsyncExitStack() as stack:
            if self._writer is not None:
                await stack.enter_async_context(self._writer)
            connection = await stack.enter_async_context(self._connection())
            await connection.execution_options(**{_WRITES: True})
            async with connection.begin():
                tx = Transaction(connection, self.clock)
                yield tx
                await tx.events.write()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """One snapshot to read from. Raises `DatabaseUnavailable`."""
        async with self._connection() as connection:
            if not self.is_sqlite:
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                yield Transaction(connection, self.clock)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._engine.connect())
            except (
                OSError,
                SQLAlchemyError,
                PostgresError,
            ) as error:  # the driver's come through as they are, at times
                raise DatabaseUnavailable(str(error)) from error
            yield connection

    @property
    def clock(self) -> ColumnElement[float]:
        """The database's clock as an expression, unix seconds; it moves within a transaction."""
        if self.is_sqlite:
            return (func.julianday("now") - _UNIX_EPOCH_JULIAN_DAY) * 86400.0
        return cast(func.extract("epoch", func.clock_timestamp()), Double)

    async def dispose(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def _postgres_engine(url: str, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"timeout": CONNECT_SECONDS},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(dbapi_connection: Any, _record: Any) -> None:
        # A process that stands still in a transaction would keep its locks, and nobody could take its training over.
        limit = f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
        dbapi_connection.run_async(lambda connection: connection.execute(limit))

    return engine


def _sqlite_engine(url: str, pool_size: int, *, foreign_keys: bool) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # the driver must not begin transactions on its own
        cursor = dbapi_connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
            _use_wal(dbapi_connection, cursor)
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        except BaseException:  # not a database, say: the pool does not know the connection yet, so it is ours to close
            dbapi_connection.close()
            raise
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    @event.listens_for(engine.sync_engine, "handle_error")
    def keep(context: ExceptionContext) -> None:
        # SQLAlchemy would close a connection whose call was cancelled. An open cursor, alive in the exception's
        # traceback, then keeps the file's write lock. But nothing is wrong with the connection: its thread finishes
        # the call, and rolls back in its turn.
        if isinstance(context.original_exception, asyncio.CancelledError):
            context.is_disconnect = False

    return engine


def _use_wal(connection: Any, cursor: Any) -> None:
    """Switch the file to a write-ahead log; of several that do this to a new file, SQLite refuses some at once."""
    for attempts_left in reversed(range(WAL_ATTEMPTS)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if attempts_left == 0 or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            connection.run_async(lambda _: asyncio.sleep(WAL_PAUSE))
        else:
            return
