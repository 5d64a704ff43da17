"""What callers may do with a connection, over real sockets."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from tcsfeel.inbound.connection import Connection
from tcsfeel.inbound.refusals import BURST_SECONDS
from tests.lag import watched
from tests.tcsfeel.inbound.sockets import PATIENCE, SHORT, Caller, calling, echo, refusing, served, until

CHUNKED = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
ONE_BYTE = b"1\r\nx\r\n"


@pytest.mark.parametrize("head", [CHUNKED, SIZED % 10**9], ids=["chunked", "sized"])
async def test_a_caller_who_is_refused_is_cut_off_and_hears_why(head: bytes) -> None:
    async with served(refusing, linger_seconds=SHORT) as server, calling(server.port) as caller:
        await caller.send(head)
        status, answer = await caller.answer()
        assert (status, b"connection: close" in answer) == (401, True)
        sent = await caller.flood(b"x" * 65_536)
    assert sent < 64 * 1024 * 1024  # what the kernel keeps, on both sides; the announced body is a gigabyte


async def test_a_refused_body_of_small_chunks_is_not_parsed() -> None:
    parsed = 0

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        nonlocal parsed
        await asyncio.sleep(SHORT)  # meanwhile the chunks come in
        (connection,) = server.arrivals.connections
        assert isinstance(connection, Connection)
        parsed = connection.conn._pieces
        await refusing(scope, receive, send)

    async with served(counting, linger_seconds=SHORT) as server, calling(server.port) as caller:
        await caller.send(CHUNKED + ONE_BYTE * 50_000)
        assert (await caller.answer())[0] == 401
    assert parsed == 0


async def test_callers_without_a_key_that_flood_with_small_chunks_do_not_hold_the_loop() -> None:
    chunks = ONE_BYTE * 10_000

    async def flood(port: int) -> None:
        async with calling(port) as caller:
            await caller.send(CHUNKED)
            await caller.flood(chunks)

    async with served(refusing, linger_seconds=SHORT) as server, watched() as lag:
        await asyncio.gather(*(flood(server.port) for _ in range(8)))
    assert lag.longest < 0.05


@pytest.mark.parametrize(
    ("sent", "status", "reset"),
    [
        (GET, 200, False),
        (GET, 200, True),
        (b"POST /known HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 200, False),
        (CHUNKED + ONE_BYTE + b"0\r\n\r\n", 200, False),
        (b"no HTTP\r\n\r\n", 400, False),
        (SIZED % 10 + b"x", 408, False),
        (CHUNKED + ONE_BYTE, 408, False),
        (SIZED % 10, None, False),
        (b"", None, False),
    ],
    ids=["usual", "reset", "known", "chunked", "no-http", "stopped", "stopped-chunks", "left-early", "silent"],
)
async def test_a_lost_connection_leaves_no_garbage(sent: bytes, status: int | None, reset: bool) -> None:
    """After an attack, a collection of thousands of them held the loop for 60 ms."""
    gc.disable()
    try:
        async with served(echo, keep_alive=2 * PATIENCE, grace_seconds=SHORT, linger_seconds=SHORT) as server:
            async with calling(server.port) as caller:
                await until(lambda: bool(server.arrivals.connections))
                (connection,) = map(weakref.ref, server.arrivals.connections)
                await caller.send(sent)
                if status is not None:
                    assert (await caller.answer())[0] == status
                if reset:
                    caller.reset()
            await until(lambda: connection() is None)
    finally:
        gc.enable()


async def test_a_body_comes_whole_however_it_is_cut() -> None:
    async with served(echo) as server, calling(server.port) as caller:
        await caller.send(CHUNKED + ONE_BYTE * 500 + b"0\r\n\r\n")
        assert (await caller.answer())[0] == 200
        assert await caller.reader.readexactly(3) == b"500"
        size = 3_000_000
        await caller.send(SIZED % size + b"x" * size)  # on the same connection
        assert (await caller.answer())[0] == 200
        assert await caller.reader.readexactly(7) == b"3000000"


async def test_a_body_of_senselessly_small_chunks_is_refused() -> None:
    async with served(echo, linger_seconds=SHORT) as server, calling(server.port) as caller:
        await caller.send(CHUNKED + ONE_BYTE * 1024)
        await caller.send(ONE_BYTE)
        assert (await caller.answer())[0] == 400
        assert b"more than 1024 chunks of less than 64 bytes" in await caller.rest()


async def test_one_turn_of_the_loop_parses_few_pieces_of_a_body() -> None:
    counts = []

    async def counting(_scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            counts.append(len(message["body"]))
            more = message["more_body"]
        await refusing(_scope, receive, send)

    async with served(counting) as server, calling(server.port) as caller:
        await caller.send(CHUNKED + ONE_BYTE * 1000 + b"0\r\n\r\n")
        assert (await caller.answer())[0] == 401
    assert sum(counts) == 1000
    assert max(counts) <= 64


async def test_a_caller_who_says_nothing_is_let_go() -> None:
    async with served(echo, head_seconds=SHORT) as server, calling(server.port) as caller:
        assert await caller.rest() == b""


@pytest.mark.parametrize("begin", [b"GET /x HTT", GET[:-2], GET + b"GET /y"], ids=["line", "headers", "the second"])
async def test_a_head_that_is_not_finished_in_time_is_refused(begin: bytes) -> None:
    async with served(echo, head_seconds=SHORT) as server, calling(server.port) as caller:
        await caller.send(begin)
        assert b"408 Request Timeout" in await caller.rest()


async def test_a_head_that_drips_has_the_same_deadline() -> None:
    async with served(echo, head_seconds=SHORT) as server, calling(server.port) as caller:
        await caller.send(b"GET /x HTTP/1.1\r\n")
        await until(lambda: len(server.arrivals.connections) == 1)
        assert b"408 Request Timeout" in await _dripped(caller)


async def test_a_refusal_that_waits_reaches_a_caller_that_goes_on_sending() -> None:
    """What comes in while a refusal waits stays unread, and a socket that is closed over it resets the connection."""
    rate = 1 / (BURST_SECONDS + 0.3)  # so that the first refusal waits for 0.3 s
    async with served(echo, head_seconds=SHORT, refusals_per_second=rate) as server, calling(server.port) as caller:
        await caller.send(b"GET /x HTTP/1.1\r\n")
        assert b"408 Request Timeout" in await _dripped(caller)


async def _dripped(caller: Caller) -> bytes:
    """Send one line of a head after the other, and read what the server answers. Raises where it resets."""
    reading = asyncio.create_task(caller.reader.read())
    while not reading.done():
        caller.writer.write(b"a: b\r\n")
        await asyncio.sleep(0.01)
    return reading.result()


async def test_a_body_that_stops_is_refused() -> None:
    async with served(echo, grace_seconds=SHORT) as server, calling(server.port) as caller:
        await caller.send(SIZED % 100 + b"half")
        assert b"408 Request Timeout" in await caller.rest()


async def test_a_body_that_drips_is_refused_whatever_its_length() -> None:
    async with served(echo, grace_seconds=SHORT, body_rate=1000.0) as server, calling(server.port) as caller:
        await caller.send(SIZED % 10**6)
        await until(lambda: len(server.arrivals.connections) == 1)
        while server.arrivals.connections:
            caller.writer.write(b"x")
            await asyncio.sleep(0.005)
        assert b"408 Request Timeout" in await caller.rest()


async def test_a_body_that_came_quickly_may_pause_for_no_longer_than_any_other() -> None:
    async with served(echo, grace_seconds=SHORT, body_rate=1000.0) as server, calling(server.port) as caller:
        await caller.send(SIZED % 10**6 + b"x" * (10**6 - 1))  # which would earn 1000 s
        assert b"408 Request Timeout" in await caller.rest()


async def test_time_that_the_application_takes_does_not_count_against_the_sender() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        async def late() -> Any:
            await asyncio.sleep(2 * SHORT)
            return await receive()

        await echo(scope, late, send)

    async with served(slow, grace_seconds=SHORT) as server, calling(server.port) as caller:
        await caller.send(SIZED % 300_000 + b"x" * 300_000)
        assert (await caller.answer())[0] == 200


async def test_a_head_is_bounded() -> None:
    async with served(echo, linger_seconds=SHORT) as server, calling(server.port) as caller:
        await caller.send(b"GET /x HTTP/1.1\r\nHost: x\r\nlong: " + b"x" * 100_000)
        answer = await caller.rest()
        assert b"431" in answer
        assert b"have more than 16384 bytes: shorten the path, or send fewer headers" in answer


async def test_what_is_no_http_is_refused() -> None:
    async with served(echo, linger_seconds=SHORT) as server, calling(server.port) as caller:
        await caller.send(b"\x16\x03\x01 no such thing\r\n\r\n")
        assert b"400 Bad Request" in await caller.rest()


async def test_a_caller_who_takes_nothing_in_is_let_go() -> None:
    async def large(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2000):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with served(large, stall_seconds=SHORT) as server, calling(server.port) as caller:
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]  # the transport reads as well as it writes
        await caller.send(GET)
        await until(lambda: len(server.arrivals.connections) == 1)
        await until(lambda: len(server.arrivals.connections) == 0)


async def test_a_request_that_is_called_off_as_the_server_stops_is_answered_503() -> None:
    called = asyncio.Event()

    async def endless(_scope: Any, _receive: Any, _send: Any) -> None:
        called.set()
        await asyncio.Event().wait()

    async with served(endless) as server, calling(server.port) as caller:
        await caller.send(GET)
        await called.wait()
        server.server.config.timeout_graceful_shutdown = 1
        await server.server.shutdown()
        status, head = await caller.answer()
        assert (status, b"retry-after: 1" in head, b"connection: close" in head) == (503, True, True)


async def test_requests_in_a_row_are_answered_one_after_the_other() -> None:
    at_once, most = 0, 0

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        await echo(scope, receive, send)
        at_once -= 1

    async with served(counting) as server, calling(server.port) as caller:
        await caller.send(GET * 200)
        for _ in range(200):
            assert (await caller.answer())[0] == 200
            await caller.reader.readexactly(1)
    assert most == 1
