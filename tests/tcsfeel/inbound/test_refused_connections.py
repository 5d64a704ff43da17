"""Each connection that is refused without the application is noted with its address and a status."""

import asyncio
from typing import Any

import pytest

from tests.tcsfeel.inbound.sockets import SHORT, calling, echo, served, until

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
ELSEWHERE = "127.0.0.9"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"EHLO x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"", 408),
        (GET[:-2], 408),
    ],
    ids=["tls", "no HTTP", "long head", "two lengths", "nothing", "slow head"],
)
async def test_a_connection_without_a_request_is_noted_once(sent: bytes, status: int) -> None:
    noted: list[tuple[str, int]] = []
    async with served(echo, head_seconds=SHORT, linger_seconds=SHORT) as server:
        server.arrivals.note_refused = lambda *refused: noted.append(refused)
        async with calling(server.port, address=ELSEWHERE) as caller:
            await caller.send(sent)
            await caller.rest()
            await until(lambda: not server.arrivals.connections)
    assert noted == [(ELSEWHERE, status)]


async def test_a_caller_that_takes_nothing_of_its_answer_is_noted() -> None:
    async def large(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 32_000_000})

    noted: list[tuple[str, int]] = []
    async with served(large, stall_seconds=SHORT) as server:
        server.arrivals.note_refused = lambda *refused: noted.append(refused)
        async with calling(server.port, address=ELSEWHERE) as caller:
            reading: Any = caller.writer.transport
            reading.pause_reading()
            await caller.send(GET)
            await until(lambda: bool(noted))
    assert noted == [(ELSEWHERE, 408)]


async def test_an_address_that_loses_a_place_because_it_has_too_many_is_noted() -> None:
    noted: list[tuple[str, int]] = []
    async with served(echo, places=8) as server:  # 2 of them for strangers
        server.arrivals.note_refused = lambda *refused: noted.append(refused)
        async with (
            calling(server.port, address=ELSEWHERE),
            calling(server.port, address=ELSEWHERE),
            calling(server.port),
        ):
            await until(lambda: bool(noted))
    assert noted == [(ELSEWHERE, 429)]


async def test_good_calls_and_connections_that_rest_are_not_noted() -> None:
    noted: list[tuple[str, int]] = []
    async with served(echo, keep_alive=SHORT) as server:
        server.arrivals.note_refused = lambda *refused: noted.append(refused)
        async with calling(server.port) as caller:
            await caller.send(GET)
            assert b"200 OK" in await caller.rest()  # until the server closes it
        async with calling(server.port):
            await asyncio.sleep(SHORT)
    assert noted == []
