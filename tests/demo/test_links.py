"""Bytes need their time on a link, and its caller decides which link that is.

Covers: app/demo/shaping.py
"""

import asyncio
import socket

import httpx2
import pytest

from app.demo.links import HEAD_BYTES, HOST, PIECE_BYTES, Lane, Link, proxied
from app.demo.shaping import NamedRelay, link_of
from tcsfeel.agent.relaying import Relaying
from tests.clocks import FakeClock

TICK = 1 / 1024  # s
SPEED = PIECE_BYTES / (8 * TICK) / 1e6  # MB/s, at which a piece takes 8 ticks
FAST = 1e6  # MB/s
TURNS = 20  # of the event loop, after which nothing happens any more until the clock goes on
BODY = bytes(range(256)) * 400


class Writer:
    """Notes what it gets at which tick."""

    def __init__(self, name: str, clock: FakeClock, got: list[tuple[int, str]]) -> None:
        self._name = name
        self._clock = clock
        self._got = got

    def write(self, piece: bytes) -> None:
        assert len(piece) == PIECE_BYTES
        self._got.append((round(self._clock.now() / TICK), self._name))

    async def drain(self) -> None: ...

    def write_eof(self) -> None:
        self._got.append((round(self._clock.now() / TICK), f"end of {self._name}"))


async def carried(latency: int, *names: str) -> list[tuple[int, str]]:
    """Let three pieces for each name pass over one lane at the same time, and return when which of them arrived."""
    clock, got = FakeClock(now=0.0), list[tuple[int, str]]()
    lane = Lane(SPEED, latency * TICK, clock=clock.now, sleep=clock.sleep)
    works = []
    for name in names:
        reader = asyncio.StreamReader(limit=4 * PIECE_BYTES)
        reader.feed_data(bytes(3 * PIECE_BYTES))
        reader.feed_eof()
        works.append(asyncio.create_task(lane.carry(reader, Writer(name, clock, got))))  # type: ignore[arg-type]  # a fake
    while not all(work.done() for work in works):
        for _ in range(TURNS):
            await asyncio.sleep(0)
        clock.advance(TICK)
        assert clock.now() < 1.0
    return got


async def test_latency_comes_once_and_not_with_each_piece() -> None:
    assert await carried(100, "a") == [(108, "a"), (116, "a"), (124, "a"), (124, "end of a")]
    assert await carried(0, "a") == [(8, "a"), (16, "a"), (24, "a"), (24, "end of a")]


async def test_connections_over_a_link_take_turns_and_share_its_speed() -> None:
    got = await carried(5, "a", "b")
    assert [one for one in got if "end" not in one[1]] == [
        (13, "a"), (21, "b"), (29, "a"), (37, "b"), (45, "a"), (53, "b"),
    ]  # fmt: skip


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a request with its whole text."""
    writer.write(await reader.read(-1))
    writer.close()
    await writer.wait_closed()


async def sent(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(text)
    writer.write_eof()
    try:
        return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_proxy_carries_what_it_gets_over_the_link_of_the_caller() -> None:
    heads: list[bytes] = []

    def choose(head: bytes) -> Link:
        heads.append(head)
        return Link(FAST)

    request = b"PUT /tasks/1 HTTP/1.1\r\nX-Relay: edge-01\r\n\r\n"
    async with await asyncio.start_server(echo, HOST, 0) as called:
        upstream = called.sockets[0].getsockname()[:2]
        async with proxied(upstream, choose) as port:
            assert await sent(port, request + BODY) == request + BODY
            assert heads == [request]
            for wrong in (b"", b"GET / HTTP/1.1\r\n", b"x" * (HEAD_BYTES + 1) + b"\r\n\r\n"):
                assert await sent(port, wrong) == b""
    with socket.socket() as silent:
        silent.bind((HOST, 0))  # and does not listen
        async with proxied(silent.getsockname(), choose) as port:
            assert await sent(port, request) == b""


@pytest.mark.parametrize(
    ("head", "caller"),
    [
        (b"PUT /t HTTP/1.1\r\nHost: a\r\nX-Relay: edge-01\r\n\r\n", "edge-01"),
        (b"PUT /t HTTP/1.1\r\nx-relay:edge-02\r\n\r\n", "edge-02"),
        (b"PUT /x-relay: HTTP/1.1\r\nHost: x-relay\r\nAuthorization: Bearer X-Relay: edge-01\r\n\r\n", None),
    ],
)
def test_a_link_is_that_to_the_relay_that_a_request_names_or_else_to_the_server(
    head: bytes, caller: str | None
) -> None:
    to_server, to_relay, named = Link(1), Link(1), list[str]()

    def relays(client_id: str) -> Link:
        named.append(client_id)
        return to_relay

    found = link_of(to_server, relays)(head)
    assert (found, named) == ((to_server, []) if caller is None else (to_relay, [caller]))


async def test_a_relay_names_itself_in_every_task() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, text=request.headers["X-Relay"])

    relaying = Relaying(transport=NamedRelay("edge-01", httpx2.MockTransport(answer)))
    for _ in range(2):
        async with relaying.calling() as http:
            assert (await http.get("http://edge-02/tasks/1")).text == "edge-01"
