"""Connections to Postgres that never make a caller wait without limit.

- Connecting, running a statement and closing each have a time limit. The other side may disappear without closing the
  connection, and TCP alone would then wait for a quarter of an hour. If a statement reaches the limit, all idle
  connections of the pool are closed, since they most likely do not work either.
- Postgres ends a statement a little before our limit, so that a statement that is only slow leaves its connection
  intact. It also ends sessions whose client has disappeared, because they would keep their locks and places.
- A connection that was idle for long is closed, by Postgres or by us before it would be used again. The pool gives out
  the connection that was used last, so connections that a burst has opened do become idle.
- After "too many connections", no connection is opened for a while, which gets longer each time.
"""

import asyncio
import time
import weakref
from collections.abc import Callable
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.store.availability import NoAnswer
from app.store.columns import to_json

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 2.0
TRANSACTION_SECONDS = 10  # that a session may be idle in a transaction
SPARE_SECONDS = 60  # after which Postgres closes an idle connection; we do not use one that was idle for half as long
SERVER_FIRST = 0.8  # share of our limit for a statement after which Postgres ends it
STATEMENTS_KEPT = 500  # prepared by each connection: an IN with another number of values is another statement
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
_IDLE_LIMIT_SINCE = 14  # version of Postgres

# How soon Postgres notices that we have disappeared: after 10 s of silence it asks three times, 5 s apart.
_SESSION = (
    f"SET idle_in_transaction_session_timeout = '{TRANSACTION_SECONDS}s'; "
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; "
    "SET tcp_user_timeout = '20s'"
)


class Connection(asyncpg.Connection):  # type: ignore[misc]  # it has no types
    """A connection that closes in limited time; asyncpg's own close waits for the answer to a cancelled statement.

    To cancel a statement, asyncpg opens a second connection. If the first is terminated at that moment, the second
    leaves an error in a future that nothing reads, and asyncio logs it. So a close that has begun is not interrupted.
    """

    _closing = False

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  (asyncpg's signature)
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS if timeout is None else min(timeout, CLOSE_SECONDS)):
                await super().close()
        except TimeoutError:
            self.drop()

    def terminate(self) -> None:
        """End the connection at once, unless it is already closing, which takes at most `CLOSE_SECONDS`."""
        if not self._closing:
            self.drop()

    def drop(self) -> None:
        """End the connection at once, even if a statement is running."""
        super().terminate()


class Connector:
    """Opens connections. Opening is finished even if the caller has given up; the connection is then closed.

    If asyncpg is cancelled half-way, it leaves an error in a future that nothing reads.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._under_way: set[asyncio.Task[Connection]] = set()
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._pause = 0.0
        self._refused_until = 0.0

    async def __call__(self, **where: Any) -> Connection:
        """Open a connection. Soon after a refusal, it raises `asyncpg.TooManyConnectionsError` without trying."""
        if self.now() < self._refused_until:
            raise asyncpg.TooManyConnectionsError("Postgres has said a moment ago that it has too many connections")
        task = asyncio.create_task(asyncpg.connect(connection_class=Connection, **where))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            connection: Connection = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_hang_up)
            raise
        except asyncpg.TooManyConnectionsError:
            self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, 2 * self._pause))
            self._refused_until = self.now() + self._pause
            raise
        self._pause = self._refused_until = 0.0
        self._open.add(connection)
        return connection

    def hang_up(self) -> None:
        """Drop every connection that is still open."""
        for connection in list(self._open):
            if not connection.is_closed():
                connection.drop()


def _hang_up(task: asyncio.Task[Connection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()


def engine(
    url: str, connector: Connector, *, pool_size: int, wait_seconds: float, statement_seconds: float
) -> AsyncEngine:
    """Make an engine with at most `pool_size` connections. A caller waits `wait_seconds` for one."""
    made = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,  # otherwise each of these would be opened and closed for a single transaction
        pool_timeout=wait_seconds,
        pool_use_lifo=True,
        hide_parameters=True,
        json_serializer=to_json,
        connect_args={
            "timeout": min(CONNECT_SECONDS, statement_seconds),
            "command_timeout": statement_seconds,
            "prepared_statement_cache_size": STATEMENTS_KEPT,
            "async_creator_fn": connector,
        },
    )
    server_limit = f"; SET statement_timeout = {int(1000 * SERVER_FIRST * statement_seconds)}"

    @event.listens_for(made.sync_engine, "connect")
    def configure(dbapi_connection: Any, _record: Any) -> None:
        def limits(connection: Connection) -> Any:
            idle = f"; SET idle_session_timeout = '{SPARE_SECONDS}s'"
            knows = connection.get_server_version().major >= _IDLE_LIMIT_SINCE
            return connection.execute(_SESSION + server_limit + (idle if knows else ""))

        dbapi_connection.run_async(limits)

    @event.listens_for(made.sync_engine, "checkin")
    def note(_dbapi_connection: Any, record: Any) -> None:
        record.info["idle_since"] = connector.now()

    @event.listens_for(made.sync_engine, "checkout")
    def look(dbapi_connection: Any, record: Any, _proxy: Any) -> None:
        # The driver knows of a connection that the server has closed. SQLAlchemy's own check is three statements.
        now = connector.now()
        too_old = now - record.info.get("idle_since", now) > SPARE_SECONDS / 2
        if too_old or dbapi_connection.driver_connection.is_closed():
            raise DisconnectionError

    @event.listens_for(made.sync_engine, "handle_error")
    def drop(context: ExceptionContext) -> None:
        if isinstance(context.original_exception, TimeoutError):
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = True  # SQLAlchemy takes this error for the end of a waiting task
            raise NoAnswer(f"no answer within {statement_seconds:g} s") from context.original_exception

    return made
