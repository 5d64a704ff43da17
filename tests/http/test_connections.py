"""The connections of the control plane: the rules of every connection, and those between its two parsers.

The tests of `tcsfeel.inbound` run here again, with usual requests that do not go through h11.
"""

import asyncio
from typing import Any

import pytest

from app.http.connections import QuickConnection
from app.http.exchanges import Exchange
from tcsfeel.inbound.parsing import HEAD_BYTES
from tests.tcsfeel.inbound import sockets
from tests.tcsfeel.inbound.sockets import calling, echo, served, until
from tests.tcsfeel.inbound.test_connection import *  # noqa: F403  (the same tests for this protocol)
from tests.tcsfeel.inbound.test_slow_readers import *  # noqa: F403

POST = b"POST /known HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Serve with the control plane's connections, and give the method of each exchange that took place without h11."""
    exchanges: list[str] = []

    class Watched(QuickConnection):
        def on_response_complete(self) -> None:
            if isinstance(self.cycle, Exchange):
                exchanges.append(self.cycle._scope["method"])
            super().on_response_complete()

    monkeypatch.setattr(sockets, "PROTOCOL", Watched)
    return exchanges


async def answers(caller: sockets.Caller, count: int) -> list[bytes]:
    """The heads of answers, whose bodies have one byte each."""
    found = []
    for _ in range(count):
        found.append((await caller.answer())[1])
        await caller.reader.readexactly(1)
    return found


async def test_usual_and_unusual_requests_alternate_on_one_connection(quick: list[str]) -> None:
    async with served(echo) as one, calling(one.port) as caller:
        for _ in range(2):
            await caller.send(POST % 2 + b"{}")
            await answers(caller, 1)
            await caller.send(CHUNKED)
            await answers(caller, 1)
    assert len(quick) == 2


async def test_requests_that_arrive_together_are_answered_in_order(quick: list[str]) -> None:
    async with served(echo) as one, calling(one.port) as caller:
        await caller.send((POST % 2 + b"{}") + CHUNKED + (POST % 1)[:-20])
        await answers(caller, 2)
        await caller.send((POST % 1)[-20:] + b"x" + POST % 3 + b"xyz")
        await answers(caller, 2)
    assert len(quick) == 1, "what h11 has received, it parses itself"


async def test_a_body_may_come_after_its_head_in_pieces(quick: list[str]) -> None:
    async with served(echo) as one, calling(one.port) as caller:
        await caller.send(POST % 3)
        for byte in (b"a", b"b", b"c" + CHUNKED):
            await asyncio.sleep(0.01)
            await caller.send(byte)
        await answers(caller, 2)
    assert len(quick) == 1


async def test_an_answer_before_the_end_of_its_body_closes_the_connection(quick: list[str]) -> None:
    async with served(sockets.refusing) as one, calling(one.port) as caller:
        await caller.send(POST % 9 + b"part")
        status, head = await caller.answer()
        assert (status, b"connection: close" in head) == (401, True)
        assert await caller.rest() == b"no"
    assert len(quick) == 1


async def test_bodies_without_a_length_come_in_chunks_as_soon_as_they_are_there() -> None:
    go_on = asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b""})

    async with served(app) as one, calling(one.port) as caller:
        await caller.send(POST % 0)
        _, head = await caller.answer()
        assert b"transfer-encoding: chunked" in head
        assert await caller.reader.readexactly(8) == b"3\r\nabc\r\n"
        go_on.set()
        assert await caller.reader.readexactly(5) == b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([(b"x", b"a\r\ninjected: b")], b""),
        ([(b"x\n", b"a")], b""),
        ([(b"content-length", b"1")], b"too long"),
        ([(b"content-length", b"5")], b"a"),
    ],
)
async def test_an_answer_that_would_confuse_its_reader_is_not_sent(headers: list[Any], body: bytes) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async with served(app) as one, calling(one.port) as caller:
        await caller.send(POST % 0)
        received = await caller.rest()
        assert b"injected" not in received
        assert b"too long" not in received
        await until(lambda: not one.arrivals.connections)


async def test_an_application_that_fails_is_answered_for() -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise RuntimeError("broken")

    async with served(app) as one, calling(one.port) as caller:
        await caller.send(POST % 0)
        status, head = await caller.answer()
        assert (status, b"connection: close" in head) == (500, True)


@pytest.mark.parametrize("later", [b"", POST % 0], ids=["alone", "with another request behind it"])
async def test_the_application_hears_that_the_caller_is_gone(later: bytes) -> None:
    gone = asyncio.Event()

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        assert (await receive())["body"] == b"x"
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async with served(app) as one:
        async with calling(one.port) as caller:
            await caller.send(POST % 1 + b"x" + later)
            await asyncio.sleep(0.01)
        await asyncio.wait_for(gone.wait(), 5)


async def test_requests_behind_one_that_takes_long_are_held_within_a_bound() -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await echo(scope, receive, send)

    request = POST % 1 + b"x"
    count = 2 * HEAD_BYTES // len(request)
    async with served(app) as one, calling(one.port) as caller:
        await caller.send(request * count)
        await until(lambda: bool(one.arrivals.connections))
        connection: Any = next(iter(one.arrivals.connections))
        await until(lambda: bool(connection.flow.read_paused))
        assert len(connection.cycle.later) <= HEAD_BYTES
        go_on.set()
        await answers(caller, count)


async def test_a_body_that_stops_after_the_answer_has_begun_is_not_taken_for_whole() -> None:
    heard: list[str] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        heard.append((await receive())["type"])

    async with served(app, grace_seconds=sockets.SHORT) as one, calling(one.port) as caller:
        await caller.send(POST % 9 + b"part")
        await until(lambda: bool(heard))
    assert heard == ["http.disconnect"]


async def test_a_caller_whose_call_is_answered_keeps_its_place() -> None:
    """A connection that rests may lose its place to another caller with a key, but not in the middle of a call."""
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "PUT":
            await go_on.wait()
        await echo(scope, receive, send)

    async with served(app) as one, calling(one.port) as caller:
        await caller.send(POST % 1 + b"x")
        await answers(caller, 1)
        connection: Any = next(iter(one.arrivals.connections))
        assert connection.idle
        await caller.send((POST % 1 + b"x").replace(b"POST", b"PUT"))
        await until(lambda: not connection.idle)
        go_on.set()
        await answers(caller, 1)
        assert connection.idle
