"""What every request goes through."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from app.http.middleware import RequestContext
from tcsfeel.inbound.welcoming import KNOWN
from tests.api import Api, assert_problem, caller, profile, running_api

LIMIT = 2_000
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def api(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", sqlite_url, max_body_bytes=LIMIT) as running:
        yield running


@pytest.mark.parametrize("given", ["abc", "A-1_b.c", "x" * 64])
async def test_the_senders_request_id_comes_back(api: Api, given: str) -> None:
    for path in ("/v1/clients", "/v1/clients/nobody", "/nothing", "/healthz"):
        response = await api.http.get(path, headers={"X-Request-ID": given})
        assert response.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 65, "a/b", "a\tb", "{}", "é"])
async def test_without_a_good_one_each_request_gets_an_id_of_its_own(api: Api, given: str | None) -> None:
    headers = [] if given is None else [(b"X-Request-ID", given.encode("latin-1"))]
    made = [(await api.anonymous.get("/v1/clients", headers=headers)).headers["X-Request-ID"] for _ in range(2)]
    assert given not in made
    assert len(set(made)) == 2
    assert all(len(name) == 16 for name in made)


async def test_a_request_is_logged_with_its_outcome(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "app.http.middleware"), capture_logs() as lines:
        await api.http.get("/v1/clients/nobody")
    (line,) = lines
    shown = {name: line[name] for name in ("event", "method", "path", "status", "log_level")}
    assert shown == {
        "event": "request",
        "method": "GET",
        "path": "/v1/clients/nobody",
        "status": 404,
        "log_level": "debug",
    }
    assert line["ms"] >= 0


async def test_a_crowd_of_calls_leaves_turns_to_everything_else() -> None:
    began: list[tuple[str, int]] = []
    passes = 0

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        began.append((scope["client"][0], passes))

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    context = RequestContext(app)
    counting = asyncio.create_task(count())
    callers = ["crowd"] * 6 + ["user"]
    await asyncio.gather(*(call(context, client=(address, 1)) for address in callers))
    counting.cancel()

    assert len({at for _, at in began}) == len(callers), "two calls began in one pass"
    assert [address for address, _ in began].index("user") <= 1, "a user waits for the crowd of another address"


async def test_a_caller_that_has_shown_a_key_does_not_wait_for_strangers() -> None:
    began = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        began.append(scope["client"][0])

    context = RequestContext(app)
    strangers = [asyncio.create_task(call(context, client=(f"stranger {n}", 1), known=False)) for n in range(9)]
    await asyncio.sleep(0)  # they are waiting by now
    await call(context, client=("known", 1), known=True)
    assert len(began) <= 2
    await asyncio.gather(*strangers)
    assert len(began) == 10


async def test_a_key_that_was_shown_lately_over_another_connection_does_not_wait_for_strangers() -> None:
    began = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        began.append(scope["client"][0])

    context = RequestContext(app, remembers={"good"}.__contains__)
    bad = [(b"authorization", b"Bearer bad")], [(b"authorization", b"Bearer \xff\x00")], [(b"authorization", b"good")]
    strangers = [
        asyncio.create_task(call(context, headers, client=(f"stranger {n}", 1), known=False))
        for n in range(3)
        for headers in bad
    ]
    await asyncio.sleep(0)  # they are waiting by now
    await call(context, [(b"authorization", b"Bearer good")], client=("known", 1), known=False)
    assert len(began) <= 2
    await asyncio.gather(*strangers)


async def call(
    app: Any,
    headers: list[tuple[bytes, bytes]] | None = None,
    client: tuple[str, int] | None = None,
    *,
    known: bool = True,
) -> list[Message]:
    """What an application sends for one request."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers or [], "query_string": b""}
    await (app if isinstance(app, RequestContext) else RequestContext(app))(
        scope | {"client": client, "extensions": {KNOWN: known}}, receive, send
    )
    return sent


async def test_the_request_id_is_on_every_log_line_of_the_request_and_on_none_after_it() -> None:
    seen = {}

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        seen.update(get_contextvars())
        await send({"type": "http.response.start", "status": 204, "headers": []})

    await call(app, [(b"x-request-id", b"abc")])
    assert seen == {"request": "abc"}
    assert get_contextvars() == {}


async def test_an_error_after_the_answer_has_begun_is_not_hidden() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with capture_logs() as lines, pytest.raises(ZeroDivisionError):
        await call(app)
    assert [line["event"] for line in lines] == ["unforeseen error"]


def body(size: int) -> bytes:
    """A registration of exactly so many bytes."""
    text = json.dumps(profile())
    return (text + " " * (size - len(text))).encode()


async def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(api: Api) -> None:
    assert (await api.http.post("/v1/clients", content=body(LIMIT), headers=JSON)).status_code == 201
    before = await api.stored()
    problem = assert_problem(await api.http.post("/v1/clients", content=body(LIMIT + 1), headers=JSON), 413)
    assert problem["detail"] == f"the body may have at most {LIMIT} bytes"
    assert await api.stored() == before


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_body_of_unknown_length_is_bounded_as_it_comes(api: Api, method: str) -> None:
    taken = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1_000):
            taken += 500
            yield b" " * 500

    path = "/v1/clients" if method == "POST" else "/v1/connectivity"
    assert_problem(await api.http.request(method, path, content=chunks(), headers=JSON), 413)
    assert taken <= 3 * LIMIT


async def test_an_announced_length_is_refused_before_a_byte_is_read(api: Api) -> None:
    taken = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        taken += 1
        yield b"{}"

    headers = JSON | {"Content-Length": "9" * 30}
    assert_problem(await api.http.post("/v1/clients", content=chunks(), headers=headers), 413)
    assert taken == 0


async def test_a_sender_that_leaves_is_no_fault_of_the_server(api: Api) -> None:
    training_id = await api.create_training()
    before = await api.stored()
    with capture_logs() as lines:
        answers = [
            await leave(api, "PUT", f"/v1/trainings/{training_id}/model"),
            await leave(api, "PUT", "/v1/connectivity"),
            await leave(api, "POST", "/v1/clients"),
        ]
    assert answers == [400, 400, 400]
    assert [line for line in lines if line["log_level"] == "error"] == []
    assert await api.stored() == before


async def leave(api: Api, method: str, path: str) -> int:
    """Send half a body and hang up; the status that nobody hears."""
    statuses = []
    messages: list[Message] = [
        {"type": "http.request", "body": b'{"half":', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [
        (b"authorization", api.http.headers["Authorization"].encode()),
        (b"content-type", b"application/json"),
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
        "scheme": "http",
    }
    await api.app(scope, receive, send)
    (status,) = statuses
    return int(status)


async def test_behind_a_prefix_the_key_is_asked_for_all_the_same(api: Api) -> None:
    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        await api.app({**scope, "root_path": "/tcsfeel"}, receive, send)

    app: Any = prefixed
    async with caller(app) as http:
        for path in ("/v1/clients", "/tcsfeel/v1/clients"):
            assert_problem(await http.get(path), 401)
