"""Whatever an agent answers over a real socket: its own call fails, soon, and the event loop goes on meanwhile."""

import asyncio
import gzip
import sys
from pathlib import Path
from typing import Any

import pytest

from app.services.tasks.bodies import TaskBody
from app.services.tasks.replies import Reply
from app.store.model_store import ModelStore
from tests.services.asking import ASK, FETCH, failure, poll, spooled
from tests.services.fakes import HERE, LOOPBACK, calling
from tests.services.villains import MOST, answering, watching

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
NO_CHUNKED = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n"
# Seconds of the processor; most take a hundredth of it, and a tracer (of coverage, say) takes some times as much.
HELD = 0.25 if sys.gettrace() is None else 1.0
FEW = 6_000_000  # bytes: what the system holds on both sides of a socket, and what was read before the end


def answer(status: object, body: bytes = b"", *lines: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Whatever\r\n".encode()
    return head + b"".join(line + b"\r\n" for line in (b"Content-Length: %d" % len(body), *lines)) + b"\r\n" + body


INTERIM = "the agent sent more than 8 interim answers (1xx)"
NOT_HTTP, CUT = "the agent did not answer in HTTP", "the agent closed the connection in the middle of its answer"
TOO_LARGE = "the agent sent a body of more than 1000000 bytes"
UNEXPECTED = "expected 200, 202, 404, 409, 410, 429 or 500"
NOT_MODIFIED = f"the agent answered 304 Not Modified, {UNEXPECTED}"

ANSWERS: dict[str, tuple[bytes, bytes, str]] = {
    # statuses without a body, and redirects
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", f"the agent answered 204 No Content, {UNEXPECTED}"),
    "204 with a length": (answer(204, b"hello"), b"", f"the agent answered 204 No Content, {UNEXPECTED}"),
    "304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", b"", NOT_MODIFIED),
    "304 without end": (b"HTTP/1.1 304 Not Modified\r\n\r\n", b"x", NOT_MODIFIED),
    "205": (answer(205), b"", f"the agent answered 205 Reset Content, {UNEXPECTED}"),
    "206": (answer(206, b"hello"), b"", f"the agent answered 206 Partial Content, {UNEXPECTED}"),
    "299": (answer(299), b"", f"the agent answered 299, {UNEXPECTED}"),
    "302": (answer(302, b"", b"Location: http://127.0.0.1:1/"), b"", f"the agent answered 302 Found, {UNEXPECTED}"),
    "400": (answer(400, b"no"), b"", "the agent answered 400: no"),
    "418": (answer(418), b"", "the agent answered 418"),
    "502 in HTML": (answer(502, b"<html>\n<b>Bad</b>"), b"", "the agent answered 502: <html> <b>Bad</b>"),
    "999": (answer(999), b"", "the agent answered 999"),
    # interim answers
    "101": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"x", NOT_HTTP),
    "only 100": (b"HTTP/1.1 100 Continue\r\n\r\n", b"", CUT),
    "1xx without end": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", INTERIM),
    "1xx with heads": (b"", b"HTTP/1.1 103 Early\r\nLink: <a>\r\n\r\n", INTERIM),
    # no status
    "0": (answer(0), b"", NOT_HTTP),
    "99": (answer(99), b"", NOT_HTTP),
    "1000": (answer(1000), b"", NOT_HTTP),
    "no number": (answer("OK"), b"", NOT_HTTP),
    "HTTP/0.9": (b"hello", b"", NOT_HTTP),
    "HTTP/2": (b"HTTP/2 200 OK\r\n\r\n", b"", NOT_HTTP),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n", b"x", NOT_HTTP),
    "TLS": (b"\x15\x03\x01\x00\x02\x02F", b"", NOT_HTTP),
    "zeros": (b"", b"\0", NOT_HTTP),
    "newlines": (b"", b"\r\n", NOT_HTTP),
    # heads
    "a status line without end": (b"HTTP/1.1 200 ", b"O", NOT_HTTP),
    "a header without end": (OK + b"A: ", b"a", NOT_HTTP),
    "headers without end": (OK, b"a:b\r\n", NOT_HTTP),
    "empty headers without end": (OK, b":\r\n", NOT_HTTP),
    "a header of NUL": (OK + b"A: \0\r\n\r\n", b"", NOT_HTTP),
    "a head that is cut": (OK + b"A: b\r\n", b"", CUT),
    # framing
    "two lengths": (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", b"", NOT_HTTP),
    "a negative length": (OK + b"Content-Length: -5\r\n\r\nhello", b"", NOT_HTTP),
    "a length of 10000 digits": (OK + b"Content-Length: " + b"9" * 10_000 + b"\r\n\r\nhello", b"", NOT_HTTP),
    "a length that is no number": (OK + b"Content-Length: five\r\n\r\nhello", b"", NOT_HTTP),
    "a coding of the transfer": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", b"", NOT_HTTP),
    "too little": (OK + b"Content-Length: 9\r\n\r\nhello", b"", CUT),
    "a chunk that is cut": (CHUNKED + b"9\r\nhello", b"", CUT),
    "no last chunk": (CHUNKED + b"5\r\nhello\r\n", b"", CUT),
    "a chunk that is longer": (CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n", b"", NOT_HTTP),
    "a chunk of no size": (CHUNKED + b"x\r\nhello\r\n", b"", NOT_HTTP),
    "a chunk's size without end": (CHUNKED, b"0", NOT_HTTP),
    "a chunk's extension without end": (CHUNKED + b"5;", b"x", NOT_HTTP),
    "trailers without end": (CHUNKED + b"0\r\n", b"a:b\r\n", NOT_HTTP),
    # bodies
    "a body without end": (OK + b"\r\n", b"x", TOO_LARGE),
    "chunks without end": (CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n", TOO_LARGE),
    "crumbs without end": (CHUNKED, b"1\r\nx\r\n", "the agent sent its body in pieces of less than 16 bytes"),
    "a length beyond the limit": (OK + b"Content-Length: 9999999999\r\n\r\n", b"x", TOO_LARGE),
    "an error without end": (b"HTTP/1.1 503 No\r\n\r\n", b"x", "the agent answered 503: " + "x" * 275 + "…"),
    "an error in crumbs": (NO_CHUNKED, b"1\r\nx\r\n", "the agent answered 503: " + "x" * 275 + "…"),
    "an error that is cut": (b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nbusy", b"", "the agent answered 503: busy"),
    "an error that is no HTTP": (NO_CHUNKED + b"x", b"", "the agent answered 503"),
    "a bomb in an error": (
        answer(503, gzip.compress(bytes(1 << 24)), b"Content-Encoding: gzip"), b"",
        "the agent answered 503: a body in Content-Encoding 'gzip', which is not accepted",
    ),
    "a terminal's orders": (
        answer(503, b"\x1b[2J\0\r\n\xff"), b"",
        "the agent answered 503: [2J \N{REPLACEMENT CHARACTER}",
    ),
    "the token": (answer(503, b"not s3cret-token"), b"", "the agent answered 503: not <token>"),
}  # fmt: skip


@ASK
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_outside_the_protocol_fails_its_call_and_holds_nothing_up(
    ask: Any, name: str, spool: ModelStore, tmp_path: Path
) -> None:
    start, again, reason = ANSWERS[name]
    with answering(start, again) as villain:
        async with calling(**LOOPBACK, max_bytes=1_000_000) as agents, asyncio.timeout(60), watching() as watch:
            assert await failure(ask(agents, spool, villain.endpoint)) == reason
            assert not (await agents.health(villain.endpoint)).alive or start.startswith(OK)
            await agents.forget(villain.endpoint, "t.1.a.fit")
    assert villain.sent < 3 * FEW < MOST
    assert watch.longest < HELD
    assert spooled(tmp_path) == []


@pytest.mark.parametrize("start", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"])
async def test_an_initial_model_without_a_body_fails_its_call(start: bytes, spool: ModelStore) -> None:
    with answering(start) as villain:
        async with calling(**LOOPBACK) as agents, asyncio.timeout(60):
            message = await failure(agents.initial_model(villain.endpoint, spool))
    assert message == f"the agent answered GET /model with {start[9:12].decode()}"


@ASK
async def test_a_few_interim_answers_are_passed_over(ask: Any, spool: ModelStore) -> None:
    with answering(b"HTTP/1.1 102 Processing\r\n\r\n" * 8 + answer(202)) as villain:
        async with calling(**LOOPBACK) as agents:
            assert await ask(agents, spool, villain.endpoint) == Reply("working")


async def test_a_body_in_small_pieces_is_taken_as_long_as_they_are_few(spool: ModelStore) -> None:
    with answering(CHUNKED + b"1\r\nx\r\n" * 400 + b"0\r\n\r\n") as villain:
        async with calling(**LOOPBACK) as agents:
            reply = await poll(agents, spool, villain.endpoint)
    assert reply.file is not None
    assert reply.file.size == 400


async def test_a_flood_of_five_agents_holds_nothing_up(spool: ModelStore) -> None:
    with answering(b"", b"HTTP/1.1 100 Continue\r\n\r\n") as villain:
        async with calling(**LOOPBACK) as agents, asyncio.timeout(60), watching() as watch:
            calls = [failure(poll(agents, spool, villain.endpoint)) for _ in range(5)]
            assert set(await asyncio.gather(*calls)) == {INTERIM}
    assert watch.longest < HELD


# Slow ones

SLOW: dict[str, Any] = LOOPBACK | {"read_seconds": 0.3, "poll_seconds": 0.2, "connect_seconds": 0.3}


@FETCH
@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 ", b"O"),
        (OK, b"a:b\r\n"),
        (OK + b"Content-Length: 1000\r\n\r\n", b"\0"),
        (CHUNKED, b"1\r\n\0\r\n"),
        (OK + b"\r\n", b"\0"),
    ],
    ids=["nothing", "a status line", "headers", "a body", "chunks", "a body without length"],
)
async def test_an_agent_that_drips_its_answer_is_cut_off(
    fetch: Any, start: bytes, again: bytes, spool: ModelStore, tmp_path: Path
) -> None:
    with answering(start, again, drip=0.02) as villain:
        async with calling(**SLOW) as agents, asyncio.timeout(60):
            assert await failure(fetch(agents, spool, villain.endpoint)) == "the agent did not answer in time"
    assert spooled(tmp_path) == []


async def test_an_agent_that_drips_to_a_probe_is_not_healthy_and_not_waited_for() -> None:
    with answering(b"HTTP/1.1 200 ", b"O", drip=0.02) as villain:
        async with calling(**LOOPBACK, connect_seconds=0.3) as agents, asyncio.timeout(20):
            assert not (await agents.health(villain.endpoint)).alive
            await agents.forget(villain.endpoint, "t.1.a.fit")


@ASK
async def test_an_error_that_drips_counts_with_what_came_of_it(ask: Any, spool: ModelStore) -> None:
    with answering(b"HTTP/1.1 503 No\r\n\r\nbus", b"y", drip=0.02) as villain:
        async with calling(**LOOPBACK, connect_seconds=0.3) as agents, asyncio.timeout(20):
            assert (await failure(ask(agents, spool, villain.endpoint))).startswith("the agent answered 503: bus")


async def test_an_agent_that_does_not_take_its_task_in_is_cut_off(spool: ModelStore) -> None:
    payload = TaskBody(b"head", memoryview(bytes(1 << 25)))
    with answering(b"", reads=False) as villain:
        async with calling(**SLOW) as agents, asyncio.timeout(60):
            message = await failure(agents.hand_over(villain.endpoint, "t.1.a.fit", payload, spool))
    assert message == "the agent did not read the request in time"


async def test_a_fake_agent_lets_go_of_callers_that_say_nothing() -> None:
    with answering(OK) as villain:
        _, writer = await asyncio.open_connection(HERE, villain.port)
        writer.close()
        await writer.wait_closed()
    assert not [thread for thread in villain.threads if thread.is_alive()]


async def test_200_agents_that_drip_hold_no_place_for_long(spool: ModelStore) -> None:
    with answering(OK + b"Content-Length: 1000\r\n\r\n", b"x", drip=0.05) as villain:
        async with calling(**SLOW | {"connect_seconds": 30.0}) as agents, asyncio.timeout(60):
            reasons = await asyncio.gather(*(failure(poll(agents, spool, villain.endpoint)) for _ in range(200)))
    assert set(reasons) == {"the agent did not answer in time"}
