"""Bytes need their time on a link of a given speed, which its caller decides."""

import asyncio
import time

import pytest

from benchmarks.shaped import HOST, Link, Shaped

SIZE = 100_000  # bytes of a request's body, and of its answer
SLOW, FAST = 1.0, 100.0  # MB/s
WRONG = 0.02  # MB/s, at which it would take 10 s
MOST_SECONDS = 5.0  # for a machine that is busy


async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a request with as many bytes as its body has."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(await reader.readexactly(SIZE))
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("caller", "at_least", "speeds"),
    [
        (b"Bearer relay1.1.a.b", 2 * SIZE / (SLOW * 1e6), (FAST, SLOW)),
        (b"Bearer of-the-server", 2 * SIZE / (SLOW * 1e6), (SLOW, FAST)),
        (b"Bearer relay1.1.a.b", 2 * SIZE / (FAST * 1e6), (WRONG, FAST)),
        (b"Bearer of-the-server", 2 * SIZE / (FAST * 1e6), (FAST, WRONG)),
    ],
)
async def test_a_request_and_its_answer_come_at_the_speed_of_their_link(
    caller: bytes, at_least: float, speeds: tuple[float, float]
) -> None:
    to_server, between = speeds
    async with await asyncio.start_server(agent, HOST, 0) as upstream:
        shaped = Shaped(upstream.sockets[0].getsockname()[:2], Link(to_server), Link(between))
        async with await asyncio.start_server(shaped.serve, HOST, 0) as proxy:
            reader, writer = await asyncio.open_connection(*proxy.sockets[0].getsockname()[:2])
            began = time.monotonic()
            writer.write(b"PUT /tasks/1 HTTP/1.1\r\nAuthorization: " + caller + b"\r\n\r\n" + b"x" * SIZE)
            assert await reader.read(-1) == b"x" * SIZE
            assert at_least <= time.monotonic() - began < MOST_SECONDS
            writer.close()
            await writer.wait_closed()
