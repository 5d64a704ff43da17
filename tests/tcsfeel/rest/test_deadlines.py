"""Each step of an exchange gets only the time that is left, and connections are given up before the server does so."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace

import httpcore2
import pytest
import uvicorn

from app.main import create_app
from tcsfeel.agent.connecting import connected
from tcsfeel.client import AsyncClient, Client
from tcsfeel.rest import deadlines
from tcsfeel.rest.deadlines import STEP_BYTES, Deadline

PATIENT = 30.0


class SlowStream(httpcore2.NetworkStream):
    """A connection whose every step takes 10 seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sent = b""
        self.timeouts: list[float | None] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        assert max_bytes
        self._step(timeout)
        return b"x"

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._step(timeout)
        self.sent += buffer

    def _step(self, timeout: float | None) -> None:
        self.timeouts.append(timeout)
        self.now += 10.0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowStream:
    stream = SlowStream()
    monkeypatch.setattr(deadlines, "time", SimpleNamespace(monotonic=lambda: stream.now))
    return stream


def test_reads_end_at_the_deadline(slow: SlowStream) -> None:
    deadline = Deadline()
    stream = deadlines._Stream(slow, deadline)
    deadline.at = 125.0
    assert b"".join(stream.read(1, PATIENT) for _ in range(3)) == b"xxx"
    with pytest.raises(httpcore2.ReadTimeout, match="the answer took too long to arrive"):
        stream.read(1, PATIENT)
    assert slow.timeouts == [25.0, 15.0, 5.0]


def test_writes_end_at_the_deadline_within_a_piece(slow: SlowStream) -> None:
    deadline = Deadline()
    stream = deadlines._Stream(slow, deadline)
    deadline.at = 125.0
    with pytest.raises(httpcore2.WriteTimeout, match="the server took too long to receive the request"):
        stream.write(bytes(10 * STEP_BYTES), PATIENT)
    assert slow.timeouts == [25.0, 15.0, 5.0]


def test_without_a_deadline_everything_is_sent_with_the_limit_of_a_step(slow: SlowStream) -> None:
    data = bytes(range(256)) * (STEP_BYTES // 64) + b"the rest"
    deadlines._Stream(slow, Deadline()).write(data, PATIENT)
    assert slow.sent == data
    assert set(slow.timeouts) == {PATIENT}


def test_a_connection_is_given_up_before_the_server_closes_it() -> None:
    """Both waited 5 s, so that a call could meet a connection that the server was closing."""
    assert uvicorn.Config(create_app).timeout_keep_alive - deadlines.KEEP_SECONDS >= 1.0


ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n{"items": [], "next_cursor": null}'
)


async def call_twice(url: str) -> None:
    def call() -> None:
        with Client(url, "key") as client:
            assert [list(client.clients()) for _ in range(2)] == [[], []]

    await asyncio.to_thread(call)


async def await_twice(url: str) -> None:
    async with AsyncClient(url, "key") as client:
        assert [[one async for one in client.clients()] for _ in range(2)] == [[], []]


async def ask_twice_as_an_agent(url: str) -> None:
    async with connected(url, "key") as http:
        assert [(await http.get("/v1/clients")).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(("seconds", "connections"), [(30.0, 1), (0.0, 2)])
@pytest.mark.parametrize("calls", [call_twice, await_twice, ask_twice_as_an_agent])
async def test_a_connection_that_was_idle_for_too_long_is_not_used(
    calls: Callable[[str], Awaitable[None]], seconds: float, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "KEEP_SECONDS", seconds)
    opened, ended = 0, asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ANSWER)
        writer.close()
        await writer.wait_closed()
        ended.release()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        await calls(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        for _ in range(opened):
            await ended.acquire()
    assert opened == connections
