"""Callers who take an answer in slowly, over real sockets: they get all of it, and cost little."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tcsfeel.inbound import hurry
from tcsfeel.inbound.connection import PIECE_BYTES, Connection
from tests.tcsfeel.inbound.sockets import SHORT, Caller, Served, calling, served, until

SIZE = 32_000_000  # more than the kernel holds for both sides
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_GET = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UNREAD_POST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"


async def large(_scope: Any, _receive: Any, send: Any) -> None:
    """Answers with many bytes in one piece, and asks for no body."""
    headers = [(b"content-length", str(SIZE).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * SIZE})


@asynccontextmanager
async def pausing(server: Served, request: bytes) -> AsyncIterator[tuple[Caller, Callable[[], None]]]:
    """A caller that takes in nothing of the answer to its request until it is told to resume."""
    async with calling(server.port) as caller:
        reading: Any = caller.writer.transport  # reads as well as it writes
        reading.pause_reading()
        await caller.send(request)
        await until(lambda: any(c.transport.get_write_buffer_size() for c in server.arrivals.connections))
        yield caller, reading.resume_reading


@pytest.mark.parametrize("sent", [GET, LAST_GET, UNREAD_POST], ids=["kept", "closed", "cut off"])
async def test_a_slow_reader_gets_the_whole_answer(sent: bytes) -> None:
    async with (
        served(large, keep_alive=SHORT, linger_seconds=SHORT) as server,
        pausing(server, sent) as (caller, resume),
    ):
        await asyncio.sleep(4 * SHORT)  # longer than a connection may rest or linger
        resume()
        assert (await caller.answer())[0] == 200
        assert len(await caller.rest()) == SIZE


async def test_a_kept_connection_is_closed_once_its_answer_was_sent() -> None:
    async with served(large, keep_alive=SHORT) as server, pausing(server, GET) as (caller, resume):
        await asyncio.sleep(2 * SHORT)
        assert len(server.arrivals.connections) == 1
        resume()
        await caller.rest()
        await until(lambda: not server.arrivals.connections)


async def test_a_server_that_ends_leaves_no_connection_open() -> None:
    """A transfer over a slow link outlasted the server of an agent, until its socket was collected as garbage."""
    async with served(large) as server, pausing(server, GET):
        server.server.config.timeout_graceful_shutdown = 1
        await server.server.shutdown()
        assert not server.arrivals.connections


async def test_a_long_answer_waits_in_pieces() -> None:
    async with served(large) as server, pausing(server, GET):
        (connection,) = server.arrivals.connections
        await asyncio.sleep(SHORT)
        assert 0 < connection.transport.get_write_buffer_size() <= PIECE_BYTES


async def test_a_connection_whose_answer_is_not_sent_does_not_rest() -> None:
    async with served(large) as server, pausing(server, GET) as (caller, resume):
        (connection,) = server.arrivals.connections
        assert isinstance(connection, Connection)
        assert not connection.idle
        resume()
        await caller.answer()
        await caller.reader.readexactly(SIZE)
        await until(lambda: connection.idle)


@pytest.mark.parametrize("rates", [(1e12, None), (1.0, 1e12)], ids=["the server's", "the application's"])
async def test_a_reader_that_drips_is_given_up(rates: tuple[float, float | None]) -> None:
    usual, hurried = rates

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if hurried is not None:
            hurry(scope, hurried)
        await large(scope, receive, send)

    async with (
        served(app, keep_alive=SHORT, stall_seconds=SHORT, answer_rate=usual) as server,
        calling(server.port) as caller,
    ):
        await caller.send(GET)
        received = 0
        with contextlib.suppress(ConnectionError):
            while piece := await caller.reader.read(4096):
                received += len(piece)
                await asyncio.sleep(0.001)
        assert 0 < received < SIZE
