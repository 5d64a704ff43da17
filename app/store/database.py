"""The database, SQLite or Postgres. All transactions begin here.

``async with db.begin() as tx`` is a write transaction: it commits when the block ends and rolls back when it raises.
``db.read()`` is a read-only snapshot. On SQLite, writers take the write lock when they begin, because a transaction
that reads first and writes later could otherwise fail half-way. The writers of one process wait for a lock in the
process, which is fairer and cheaper than the lock of the file. Readers have separate connections, see
`app.store.sqlite`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from typing import Any

from asyncpg import PostgresError
from sqlalchemy import Double, cast, event, func
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.elements import ColumnElement

from app.endings import to_its_end
from app.sharing import Places
from app.store import postgres
from app.store.availability import DatabaseUnavailable, NoAnswer, NoFreeConnection, TooManyConnections
from app.store.columns import to_json
from app.store.failures import cause_of, reason_of, state_of
from app.store.sqlite import BEGIN, Reader, Writer
from app.store.transaction import Transaction
from tcsfeel.text import plain

WAIT_SECONDS = 5.0  # for a free connection
STATEMENT_SECONDS = 10.0
_RETRY_SECONDS = 0.05
_UNIX_EPOCH_JULIAN_DAY = 2440587.5
_TOO_MANY = "53300"
_PASSING = {"08", "40", "53", "57"}  # connection, transaction rollback, insufficient resources, operator intervention


def is_outage(error: BaseException) -> bool:
    """Tell whether the same statement may succeed in a moment, by its SQLSTATE or because the connection was lost."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_outage(part) for part in error.exceptions)
    if isinstance(error, DatabaseUnavailable):
        return True
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or isinstance(error, OperationalError) or state_of(error)[:2] in _PASSING


def in_a_line(error: BaseException) -> str:
    """Describe an error in one line, without the statement and the advice that SQLAlchemy adds."""
    if isinstance(error, BaseExceptionGroup):
        return in_a_line(error.exceptions[0])
    cause = cause_of(error)
    return plain(f"{type(cause).__name__}: {cause}")


class Database:
    """An engine with the rules above. `url` is ``sqlite+aiosqlite:///…`` or ``postgresql+asyncpg://…``.

    At most `pool_size` connections are open, and one that writes on SQLite; a transaction waits `wait_seconds` for
    one. On Postgres a statement has `statement_seconds`. `on_refusal` is told the reason of each
    `DatabaseUnavailable` as a transaction begins, `on_failure` what the database failed with in the middle of one
    (see `reason_of`), and `on_end` for how many seconds each one lasted that committed: a ``write`` or a ``read``,
    from the wait for a connection. Only migrations turn `foreign_keys` off: they rebuild tables on SQLite, and
    dropping the old table would cascade.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        wait_seconds: float = WAIT_SECONDS,
        statement_seconds: float = STATEMENT_SECONDS,
        on_refusal: Callable[[str], None] = lambda _reason: None,
        on_failure: Callable[[str], None] = lambda _reason: None,
        on_end: Callable[[str, float], None] = lambda _kind, _seconds: None,
        foreign_keys: bool = True,
    ) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._wait_seconds = wait_seconds
        self._on_refusal = on_refusal
        self._on_failure = on_failure
        self._on_end = on_end
        self._write_turn = Places(1)
        self._connector = postgres.Connector()
        if self.is_sqlite:
            path = self.url.database or ""
            self._writers = _sqlite_engine(url, 1, wait_seconds, lambda: Writer(path, foreign_keys=foreign_keys))
            self._readers = _sqlite_engine(url, pool_size, wait_seconds, lambda: Reader(path))
        else:
            self._writers = self._readers = postgres.engine(
                url,
                self._connector,
                pool_size=pool_size,
                wait_seconds=wait_seconds,
                statement_seconds=statement_seconds,
            )

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        """Begin a write transaction. Raises `DatabaseUnavailable`."""
        began = time.perf_counter()
        async with self._writing(), self._connection(self._writers) as connection:
            transaction = await connection.begin()
            tx = Transaction(connection, self.clock)
            yield tx
            await tx.events.write()
            await transaction.commit()
        self._on_end("write", time.perf_counter() - began)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """Begin a read-only transaction on one snapshot. Raises `DatabaseUnavailable`."""
        async with self._reading("REPEATABLE READ") as tx:
            yield tx

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[Transaction]:
        """Read with a single statement.

        On Postgres this saves the two statements with which `read` makes a snapshot.
        """
        async with self._reading("AUTOCOMMIT") as tx:
            yield tx

    @asynccontextmanager
    async def _reading(self, isolation_level: str) -> AsyncIterator[Transaction]:
        began = time.perf_counter()
        async with self._connection(self._readers) as connection:
            if self.is_sqlite:
                await asyncio.sleep(
                    0
                )  # without this turn of the loop, a caller that reads in a loop would keep all others waiting
            else:
                await connection.execution_options(isolation_level=isolation_level, postgresql_readonly=True)
            transaction = await connection.begin()
            yield Transaction(connection, self.clock)
            await transaction.commit()
        self._on_end("read", time.perf_counter() - began)

    @cached_property
    def clock(self) -> ColumnElement[float]:
        """Make the expression for the time of the database in unix seconds; it moves on within a transaction."""
        if self.is_sqlite:
            return (func.julianday("now") - _UNIX_EPOCH_JULIAN_DAY) * 86400.0
        return cast(func.extract("epoch", func.clock_timestamp()), Double)

    async def dispose(self) -> None:
        """Close every connection, in bounded time."""
        if self.is_sqlite:
            await self._writers.dispose()
            await self._readers.dispose()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(postgres.CLOSE_SECONDS):
                await self._writers.dispose()
        self._connector.hang_up()

    def connections(self) -> tuple[int, int]:
        """Return how many connections are in use, and how many are open and idle."""
        pools = [engine.pool for engine in {self._writers, self._readers} if isinstance(engine.pool, QueuePool)]
        return sum(pool.checkedout() for pool in pools), sum(pool.checkedin() for pool in pools)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """Admit one writer at a time on SQLite. Trainings take turns, however many of their tasks are waiting."""
        if not self.is_sqlite:
            yield
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                holder = await self._write_turn.take()
        except TimeoutError as error:
            self._on_refusal(NoFreeConnection.reason)
            raise NoFreeConnection(f"other writers were busy for {self._wait_seconds:g} s") from error
        try:
            yield
        finally:
            self._write_turn.give_back(holder)

    @asynccontextmanager
    async def _connection(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """Hold a connection while the block runs. Changes that are not committed at its end are rolled back."""
        connection = await self._connected(engine)
        try:
            yield connection
        except BaseException as error:
            if (reason := reason_of(error)) is not None:
                self._on_failure(reason)
            await self._closed(connection, error)
            raise
        else:
            await connection.close()  # the transaction is over, so there is nothing to wait for

    async def _closed(self, connection: AsyncConnection, error: BaseException | None = None) -> None:
        """Roll back and return the connection to its pool, in a separate task that a cancellation does not interrupt.

        On SQLite this ends soon. Postgres may have stopped answering, so a caller that is cancelled again does not wait
        for the task.
        """
        if self.is_sqlite:
            await to_its_end(connection.close())
        else:
            await connection.__aexit__(type(error), error, None)

    async def _open(self, engine: AsyncEngine) -> AsyncConnection:
        connection = engine.connect()
        pool = engine.pool
        if not self.is_sqlite or engine is self._readers or (isinstance(pool, QueuePool) and pool.checkedin()):
            return await connection.start()
        try:
            return await to_its_end(connection.start())
        except asyncio.CancelledError:
            if connection.sync_connection is not None:
                await to_its_end(connection.close())
            raise

    async def _connected(self, engine: AsyncEngine) -> AsyncConnection:
        """Get an open connection. If the server has none left, wait until one of this process becomes free."""
        give_up = time.monotonic() + self._wait_seconds
        while True:
            try:
                return await self._open(engine)
            except (
                OSError,
                SQLAlchemyError,
                PostgresError,
            ) as error:  # the driver's come through, at times
                problem = self._explained(error)
                if not isinstance(problem, TooManyConnections) or time.monotonic() > give_up:
                    self._on_refusal(problem.reason)
                    raise problem from error
                await asyncio.sleep(_RETRY_SECONDS)

    def _explained(self, error: Exception) -> DatabaseUnavailable:
        if isinstance(error, DatabaseUnavailable):
            return error
        if isinstance(error, PoolTimeout):
            return NoFreeConnection(f"no connection was free for {self._wait_seconds:g} s")
        if isinstance(error, TimeoutError):
            return NoAnswer("the database did not answer in time")
        if state_of(error) == _TOO_MANY:
            return TooManyConnections(str(cause_of(error)))
        return DatabaseUnavailable(str(cause_of(error)))


def _sqlite_engine(
    url: str, pool_size: int, wait_seconds: float, connect: Callable[[], Writer | Reader]
) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=wait_seconds,
        hide_parameters=True,
        json_serializer=to_json,
        async_creator=connect,
    )

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        driver = connection.connection.driver_connection
        if isinstance(driver, Reader):
            driver.begin()
        else:
            connection.exec_driver_sql(BEGIN)

    @event.listens_for(engine.sync_engine, "handle_error", retval=True)
    def keep(context: ExceptionContext) -> StatementError | None:
        # SQLAlchemy would close a connection whose call was cancelled. An open cursor, alive in the exception's
        # traceback, then keeps the file's write lock. But nothing is wrong with the connection: its thread finishes
        # the call, and rolls back in its turn.
        if isinstance(context.original_exception, asyncio.CancelledError):
            context.is_disconnect = False
        if isinstance(context.original_exception, OverflowError | UnicodeError):  # the driver's, and not of its kinds
            return StatementError(str(context.original_exception), None, None, context.original_exception)
        return None

    return engine
