"""Connections to Postgres, none of which can make anybody wait without an end.

- To connect, to run a statement and to say goodbye each have a limit. The other side may vanish without a word, and
  then TCP alone would wait for a quarter of an hour. A statement that runs into the limit takes all idle connections
  of the pool with it, since they most likely lead to the same silence.
- The server ends a statement a little earlier than we do, so that one that is only slow leaves its connection intact.
  It also ends sessions that it does not hear of, which would keep locks and places from their successors.
- A connection that was idle for long is closed: by the server, or by us when we come to use it again. The pool hands
  out the one that was used last, so those that a burst has opened do become idle.
- After "too many connections" the server is left alone for a while, in growing steps.
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
TRANSACTION_SECONDS = 10  # that a session may stand still in a transaction
SPARE_SECONDS = 60  # after which the server closes a connection; we do not use one after half of it
SERVER_FIRST = 0.8  # share of our own limit on a statement after which the server ends it
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
_IDLE_LIMIT_SINCE = 14  # version of Postgres

# How soon the server notices that we have vanished: after 10 s of silence it asks three times, 5 s apart.
_SESSION = (
    f"SET idle_in_transaction_session_timeout = '{TRANSACTION_SECONDS}s'; "
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; "
    "SET tcp_user_timeout = '20s'"
)


class Connection(asyncpg.Connection):  # type: ignore[misc]  # it has no types
    """One that closes in bounded time: asyncpg's own goodbye waits for an answer to what was called off before.

    To call a statement off, asyncpg opens a second connection. If the first is terminated at that moment, the second
    leaves an error in a future that nothing reads, and asyncio logs it. So a goodbye that has begun is not cut short.
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
        """End the connection at once, unless it is closing: then it ends within `CLOSE_SECONDS` by itself."""
        if not self._closing:
            self.drop()

    def drop(self) -> None:
        """End the connection at once, whatever is under way."""
        super().terminate()


class Connector:
    """Opens connections, each to the end also where its caller has given up meanwhile, and closes it then.

    Called off half-way, asyncpg leaves an error in a future that nobody looks at.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._under_way: set[asyncio.Task[Connection]] = set()
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._pause = 0.0
        self._refused_until = 0.0

    async def __call__(self, **where: Any) -> Connection:
        """Raises `asyncpg.TooManyConnectionsError` without asking the server while its last refusal is fresh."""
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
    """At most `pool_size` connections, for one of which a caller waits `wait_seconds`."""
    made = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,  # or each of these would be opened and closed again for a single transaction
        pool_timeout=wait_seconds,
        pool_use_lifo=True,
        hide_parameters=True,
        json_serializer=to_json,
        connect_args={
            "timeout": min(CONNECT_SECONDS, statement_seconds),
            "command_timeout": statement_seconds,
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
            raise NoAnswer(f"no answer within {statement_seconds:g} s") from context.original_exception

    return made
