"""Bodies that take long: each piece that moves is a sign of life of the agent that sends or reads it."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from typing import TypeVar

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect

from app.domain.errors import NotFound
from app.services.fleet.clients import Clients
from app.services.tasks.appends import BrokenOff
from app.services.tasks.deliveries import Deliveries
from app.store.database import is_outage

SIGN_SECONDS = 1.0  # between two signs of life of a body that moves
NOTE_SECONDS = 5.0  # between two notes that a task moves

Piece = TypeVar("Piece")


async def until_hung_up(request: Request) -> AsyncIterator[bytes]:
    """Yield the pieces of a body as they come. Raises `BrokenOff` if the caller hangs up before its end."""
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise BrokenOff from None


class Transfer:
    """A body of a task of a client that moves between its agent and this server."""

    def __init__(self, clients: Clients, deliveries: Deliveries, client_id: str, task_id: str) -> None:
        self._clients = clients
        self._deliveries = deliveries
        self._client_id = client_id
        self._task_id = task_id

    async def of(self, pieces: AsyncIterable[Piece]) -> AsyncIterator[Piece]:
        """Yield pieces. While they move, record signs of life of the client, and that the task moves."""
        loop = asyncio.get_running_loop()
        due, noted = loop.time() + SIGN_SECONDS, loop.time()
        async for piece in pieces:
            if (now := loop.time()) >= due:
                due = now + SIGN_SECONDS
                await _unless_out(self._clients.heartbeat(self._client_id, bandwidth=None, latency=None))
                if now >= noted + NOTE_SECONDS:
                    noted = now
                    await _unless_out(self._deliveries.move(self._task_id))
            yield piece


async def _unless_out(record: Awaitable[None]) -> None:
    """Record something. A client that was removed, or a database that does not answer, ends no transfer."""
    try:
        await record
    except NotFound:
        pass
    except (SQLAlchemyError, OSError) as error:
        if not is_outage(error):
            raise
