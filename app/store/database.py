"""One database, SQLite or Postgres, and the only way to a transaction.

``async with db.begin() as tx`` is a write transaction: it commits when the block ends and rolls back when it raises.
``db.read()`` is a read-only snapshot. On SQLite, writers take the write lock when they begin (a transaction that reads
first and writes later could otherwise fail half-way), and writers of one process queue on a lock of ours, which is
fairer and cheaper than the file's. Readers have connections of their own, see `app.store.sqlite`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import cached_property
from typing import Any

import asyncpg
from asyncpg import PostgresError
from sqlalchemy import Double, cast, event, func
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.elements import ColumnElement

from app.store.sqlite import Reader, Writer
from app.store.transaction import Transaction

CONNECT_SECONDS = 10
IDLE_SECONDS = 10  # between two statements of a transaction
_UNIX_EPOCH_JULIAN_DAY = 2440587.5
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
        self._writing: AbstractAsyncContextManager[None] = asyncio.Lock() if self.is_sqlite else nullcontext()
        if self.is_sqlite:
            path = self.url.database or ""
            self._writers = _sqlite_engine(url, 1, lambda: Writer(path, foreign_keys=foreign_keys))
            self._readers = _sqlite_engine(url, pool_size, lambda: Reader(path))
        else:
            self._writers = self._readers = _postgres_engine(url, pool_size)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        """A write transaction. Raises `DatabaseUnavailable`."""
        async with self._writing, _connection(self._writers) as connection, connection.begin():
            tx = Transaction(connection, self.clock)
            yield tx
            await tx.events.write()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """One snapshot to read from. Raises `DatabaseUnavailable`."""
        async with self._reading("REPEATABLE READ") as tx:
            yield tx

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[Transaction]:
        """As `read`, for one statement alone: on Postgres that spares the two around it, that make a snapshot."""
        async with self._reading("AUTOCOMMIT") as tx:
            yield tx

    @asynccontextmanager
    async def _reading(self, isolation_level: str) -> AsyncIterator[Transaction]:
        async with _connection(self._readers) as connection:
            if self.is_sqlite:
                await asyncio.sleep(0)  # where nothing waits, who reads in a loop would keep out everybody else
            else:
                await connection.execution_options(isolation_level=isolation_level, postgresql_readonly=True)
            async with connection.begin():
                yield Transaction(connection, self.clock)

    @cached_property
    def clock(self) -> ColumnElement[float]:
        """The database's clock as an expression, unix seconds; it moves within a transaction."""
        if self.is_sqlite:
            return (func.julianday("now") - _UNIX_EPOCH_JULIAN_DAY) * 86400.0
        return cast(func.extract("epoch", func.clock_timestamp()), Double)

    async def dispose(self) -> None:
        """Close every connection."""
        await self._writers.dispose()
        await self._readers.dispose()


@asynccontextmanager
async def _connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    connection = engine.connect()
    try:
        await connection.start()
    except (OSError, SQLAlchemyError, PostgresError) as error:  # the driver's come through as they are, at times
        raise DatabaseUnavailable(str(error)) from error
    try:
        yield connection
    except BaseException as error:
        await connection.__aexit__(type(error), error, None)  # may have to wait for the database, in a task of its own
        raise
    else:
        await connection.close()  # the transaction is over, so there is nothing to wait for


class _Connecting:
    """Connects to the end also where nobody waits for it any more, and hangs up then.

    Called off half-way, asyncpg leaves an error in a future that nobody looks at.
    """

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[asyncpg.Connection]] = set()

    async def __call__(self, **where: Any) -> asyncpg.Connection:
        task = asyncio.create_task(asyncpg.connect(**where))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_hang_up)
            raise


def _hang_up(task: asyncio.Task[asyncpg.Connection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()


def _postgres_engine(url: str, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=2 * pool_size,
        max_overflow=0,  # or each of these would be opened and closed again for a single transaction
        hide_parameters=True,
        connect_args={"timeout": CONNECT_SECONDS, "async_creator_fn": _Connecting()},
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def look(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
        # The driver knows of a connection that the server has closed. SQLAlchemy's own check is three statements.
        if dbapi_connection.driver_connection.is_closed():
            raise InvalidatePoolError

    @event.listens_for(engine.sync_engine, "connect")
    def configure(dbapi_connection: Any, _record: Any) -> None:
        # A process that stands still in a transaction would keep its locks, and nobody could take its training over.
        limit = f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
        dbapi_connection.run_async(lambda connection: connection.execute(limit))

    return engine


def _sqlite_engine(url: str, pool_size: int, connect: Callable[[], Writer | Reader]) -> AsyncEngine:
    engine = create_async_engine(
        url, pool_size=pool_size, max_overflow=pool_size, hide_parameters=True, async_creator=connect
    )

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        driver = connection.connection.driver_connection
        if isinstance(driver, Reader):
            driver.begin()
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine.sync_engine, "handle_error")
    def keep(context: ExceptionContext) -> None:
        # SQLAlchemy would close a connection whose call was cancelled. An open cursor, alive in the exception's
        # traceback, then keeps the file's write lock. But nothing is wrong with the connection: its thread finishes
        # the call, and rolls back in its turn.
        if isinstance(context.original_exception, asyncio.CancelledError):
            context.is_disconnect = False

    return engine
