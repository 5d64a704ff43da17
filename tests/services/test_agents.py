"""Calls to agents: what each answer means, and every way in which a call can break."""

import asyncio
import contextlib
import gzip
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np
import pytest

from app.agent import AgentHost
from app.domain.clients import Profile
from app.services.agents import AgentCaller, AgentFailed, Reply
from app.settings import AgentSettings
from app.store.model_store import ModelStore, StoredFile, StoreUnavailable
from app.wire.codec import decode, pack
from app.wire.tasks import Task, read_result, task_metadata
from tests.agent.fakes import AddingTrainer
from tests.services.fakes import HERE, LOOPBACK, Peer, answering, calling, for_ever, listening, profile, reply

PAYLOAD = (b"head", memoryview(b"block"))
HELLO = StoredFile(hashlib.sha256(b"hello").hexdigest(), 5)
AGENT = profile("http://agent/base/", auth_token="s3cret-token")


@pytest.fixture
def spool(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "spool")


def spooled(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "spool").glob("*")]


def saying(status: int, content: bytes = b"", **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, stream=httpx.ByteStream(content), headers=given)


async def poll(agents: AgentCaller, spool: ModelStore, agent: Profile = AGENT, **accept: str) -> Reply:
    return await agents.poll(agent, "t.1.a.fit", 20.0, spool, **accept)


async def hand_over(agents: AgentCaller, spool: ModelStore, agent: Profile = AGENT, **accept: str) -> Reply:
    return await agents.hand_over(agent, "t.1.a.fit", PAYLOAD, spool, **accept)


async def initial_model(agents: AgentCaller, spool: ModelStore, agent: Profile = AGENT) -> Reply:
    return Reply("result", await agents.initial_model(agent, spool))


ASK = pytest.mark.parametrize("ask", [poll, hand_over], ids=["poll", "hand_over"])
FETCH = pytest.mark.parametrize("fetch", [poll, hand_over, initial_model], ids=["poll", "hand_over", "initial_model"])


async def failure(call: Any) -> str:
    with pytest.raises(AgentFailed) as caught:
        await call
    return str(caught.value)


# What was sent


async def test_a_task_is_put_with_its_length_and_its_type(spool: ModelStore) -> None:
    async def agent(request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == ("PUT", "http://agent/base/tasks/t.1.a.fit")
        assert request.headers["Content-Type"] == "application/vnd.safetensors"
        assert request.headers["Content-Length"] == "9"
        assert "Transfer-Encoding" not in request.headers
        assert request.headers["Authorization"] == "Bearer s3cret-token"
        assert request.headers["Accept-Encoding"] == "identity"
        assert await request.aread() == b"headblock"
        return httpx.Response(202)

    async with calling(agent) as agents:
        assert await hand_over(agents, spool) == Reply("working")


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        (lambda agents, _: agents.is_healthy(AGENT), "GET http://agent/base/healthz"),
        (lambda agents, spool: agents.initial_model(AGENT, spool), "GET http://agent/base/model"),
        (lambda agents, spool: agents.poll(AGENT, "t", 20.0, spool), "GET http://agent/base/tasks/t?wait=20"),
        (lambda agents, spool: agents.poll(AGENT, "t", 0.25, spool), "GET http://agent/base/tasks/t?wait=0.25"),
        (lambda agents, _: agents.forget(AGENT, "t"), "DELETE http://agent/base/tasks/t"),
    ],
)
async def test_other_calls_are_as_the_protocol_says(call: Any, sent: str, spool: ModelStore) -> None:
    seen: list[str] = []

    def agent(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer s3cret-token"
        seen.append(f"{request.method} {request.url}")
        return httpx.Response(200, stream=httpx.ByteStream(b""))

    async with calling(agent) as agents:
        await call(agents, spool)
    assert seen == [sent]


async def test_no_authorization_is_sent_where_the_client_gave_no_token(spool: ModelStore) -> None:
    def agent(request: httpx.Request) -> httpx.Response:
        assert "Authorization" not in request.headers
        return httpx.Response(202)

    async with calling(agent) as agents:
        await poll(agents, spool, profile())


async def test_cookies_are_not_kept(spool: ModelStore) -> None:
    def agent(request: httpx.Request) -> httpx.Response:
        assert "Cookie" not in request.headers
        return httpx.Response(202, headers={"Set-Cookie": "track=me; Path=/; Max-Age=3600"})

    async with calling(agent) as agents:
        await poll(agents, spool)
        await poll(agents, spool)


# What was answered


@ASK
@pytest.mark.parametrize(
    ("status", "answer"),
    [(202, "working"), (404, "unknown"), (410, "cancelled"), (409, "busy"), (429, "busy")],
)
async def test_what_an_answer_means(ask: Any, status: int, answer: Any, spool: ModelStore, tmp_path: Path) -> None:
    async with calling(saying(status, b"ignored")) as agents:
        assert await ask(agents, spool) == Reply(answer)
    assert spooled(tmp_path) == []


@FETCH
async def test_a_result_goes_to_the_spool(fetch: Any, spool: ModelStore) -> None:
    async with calling(saying(200, b"hello", content_encoding="Identity")) as agents:
        result = await fetch(agents, spool)
    assert (result.answer, result.file) == ("result", HELLO)
    assert result.seconds >= 0
    assert bytes(spool.map(HELLO.sha256)) == b"hello"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5.0), ("0.5", 0.5), ("0", 0.0), ("-7", 0.0), ("3601", 3600.0), ("inf", 3600.0), ("nan", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None), ("soon", None), ("", None),
    ],
)  # fmt: skip
async def test_how_long_a_busy_agent_wants_to_be_left_alone(
    header: str, seconds: float | None, spool: ModelStore
) -> None:
    async with calling(saying(429, retry_after=header)) as agents:
        assert await poll(agents, spool) == Reply("busy", retry_after=seconds)


@ASK
@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b'{"detail": "no data"}', '{"detail": "no data"}'),
        (b"", ""),
        (b"two\r\nlines\x00\x1b[31m\tand a tab", "two lines [31m and a tab"),
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        (b"x" * 5000, "x" * 300),
        (b"your token is s3cret-token, s3cret-token!", "your token is <token>, <token>!"),
    ],
)
async def test_what_an_agent_says_of_its_trainers_exception(
    ask: Any, content: bytes, detail: str, spool: ModelStore
) -> None:
    async with calling(saying(500, content)) as agents:
        assert await ask(agents, spool) == Reply("raised", detail=detail)


@FETCH
@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 401, 403, 405, 413, 502, 503])
async def test_any_other_status_counts_against_the_client(fetch: Any, status: int, spool: ModelStore) -> None:
    async with calling(saying(status, b"Bearer s3cret-token is wrong", location="http://elsewhere/")) as agents:
        message = await failure(fetch(agents, spool))
    assert f"answered {status}" in message
    assert "s3cret" not in message


@pytest.mark.parametrize("status", [202, 404, 410, 409, 429, 500])
async def test_an_initial_model_is_there_or_the_call_failed(status: int, spool: ModelStore) -> None:
    async with calling(saying(status)) as agents:
        assert await failure(initial_model(agents, spool)) == f"GET /model answered {status}"


async def test_of_a_long_error_only_the_start_is_read(spool: ModelStore) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1000
            yield b"x" * 1000

    async with calling(lambda _: httpx.Response(500, content=endless())) as agents:
        assert (await poll(agents, spool)).detail == "x" * 300
    assert read <= 3000


@FETCH
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x" * 50])
async def test_an_encoded_body_is_refused(fetch: Any, encoding: str, spool: ModelStore, tmp_path: Path) -> None:
    def agent(_: httpx.Request) -> httpx.Response:
        response = httpx.Response(200, stream=httpx.ByteStream(gzip.compress(b"hello")))
        response.headers["Content-Encoding"] = encoding
        return response

    async with calling(agent) as agents:
        message = await failure(fetch(agents, spool))
    assert message == f"answered with Content-Encoding {encoding[:32]!r}, which is not accepted"
    assert spooled(tmp_path) == []


@ASK
@pytest.mark.parametrize("coding", ["zstd", "ZSTD", "identity", None])
async def test_a_body_in_the_coding_that_was_asked_for_is_stored_as_it_came(
    ask: Any, coding: str | None, spool: ModelStore
) -> None:
    def agent(request: httpx.Request) -> httpx.Response:
        assert request.headers.get_list("Accept-Encoding") == ["zstd"]
        given = {} if coding is None else {"Content-Encoding": coding}
        return httpx.Response(200, stream=httpx.ByteStream(b"hello"), headers=given)

    async with calling(agent) as agents:
        answer = await ask(agents, spool, accept="zstd")
    assert (answer.file, answer.coding) == (HELLO, (coding or "identity").lower())


@ASK
async def test_only_the_coding_that_was_asked_for_is_accepted(ask: Any, spool: ModelStore, tmp_path: Path) -> None:
    async with calling(saying(200, b"hello", content_encoding="gzip")) as agents:
        message = await failure(ask(agents, spool, accept="zstd"))
    assert message == "answered with Content-Encoding 'gzip', which is not accepted"
    assert spooled(tmp_path) == []


@FETCH
async def test_a_body_beyond_the_limit_is_refused(fetch: Any, spool: ModelStore, tmp_path: Path) -> None:
    async with calling(saying(200, b"x" * 11), max_bytes=10) as agents:
        assert await failure(fetch(agents, spool)) == "sent a body of more than 10 bytes"
    assert spooled(tmp_path) == []
    async with calling(saying(200, b"x" * 10), max_bytes=10) as agents:
        assert (await fetch(agents, spool)).file.size == 10


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (202, False), (204, False), (302, False), (503, False)])
async def test_an_agent_is_healthy_if_it_says_ok(status: int, healthy: bool) -> None:
    async with calling(saying(status)) as agents:
        assert await agents.is_healthy(AGENT) == healthy


BREAKS: list[tuple[Exception, str]] = [
    (httpx.ConnectError("no"), "could not be connected to"),
    (httpx.ConnectTimeout("no"), "did not answer in time"),
    (httpx.ReadTimeout("no"), "did not answer in time"),
    (TimeoutError(), "did not answer in time"),
    (aiohttp.ServerTimeoutError(), "did not answer in time"),
    (httpx.ReadError("no"), "broke off (ReadError)"),
    (httpx.RemoteProtocolError("no"), "broke off (RemoteProtocolError)"),
    (aiohttp.ServerDisconnectedError(), "broke off (ServerDisconnectedError)"),
    (ConnectionResetError(), "broke off (ConnectionResetError)"),
    (httpx.InvalidURL("no"), "its URL cannot be called"),
]


@FETCH
@pytest.mark.parametrize(("error", "words"), BREAKS, ids=lambda value: type(value).__name__)
async def test_a_call_that_breaks_counts_against_the_client(
    fetch: Any, error: Exception, words: str, spool: ModelStore
) -> None:
    def agent(_: httpx.Request) -> httpx.Response:
        raise error

    async with calling(agent) as agents:
        assert await failure(fetch(agents, spool)) == words
        assert not await agents.is_healthy(AGENT)
        await agents.forget(AGENT, "t")  # which is not worth an error


@FETCH
@pytest.mark.parametrize(("error", "words"), BREAKS, ids=lambda value: type(value).__name__)
async def test_a_body_that_breaks_counts_against_the_client(
    fetch: Any, error: Exception, words: str, spool: ModelStore, tmp_path: Path
) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"hel"
        raise error

    async with calling(lambda _: httpx.Response(200, content=breaking())) as agents:
        assert await failure(fetch(agents, spool)) == words
    assert spooled(tmp_path) == []


@FETCH
async def test_a_disk_that_is_full_does_not_count_against_the_client(fetch: Any, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way of the directory")
    async with calling(saying(200, b"hello")) as agents:
        with pytest.raises(StoreUnavailable):
            await fetch(agents, ModelStore(tmp_path / "spool"))


@FETCH
@pytest.mark.parametrize(
    "host", ["a..b", "a" * 64 + ".example", ".", "xn--", "xn--zz--", "999.999.999.999", "[v1.x]", "127.1", "a\\b"]
)
async def test_an_url_that_no_resolver_can_take_counts_against_the_client(
    fetch: Any, host: str, spool: ModelStore
) -> None:
    async with calling() as agents:
        agent = profile(f"http://{host}/")
        assert await failure(fetch(agents, spool, agent)) == "its URL cannot be called"
        assert not await agents.is_healthy(agent)


async def test_a_name_that_stands_for_nothing_counts_against_the_client(spool: ModelStore) -> None:
    async with calling() as agents:
        assert (
            await failure(poll(agents, spool, profile("http://agent.invalid/"))) == "its host name cannot be resolved"
        )


# Over real sockets


def at(peer: Peer) -> Profile:
    return profile(peer.url, auth_token="s3cret-token")


@FETCH
async def test_a_result_comes_over_a_socket(fetch: Any, spool: ModelStore) -> None:
    async with listening(reply("200 OK", b"hello")) as peer, calling(**LOOPBACK) as agents:
        assert (await fetch(agents, spool, at(peer))).file == HELLO


async def test_a_model_is_sent_with_its_length_and_not_in_chunks(spool: ModelStore) -> None:
    block = bytes(range(256)) * 4000
    async with listening(reply("202 Accepted")) as peer, calling(**LOOPBACK) as agents:
        await agents.hand_over(at(peer), "t", (b"head", memoryview(block)), spool)
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /tasks/t HTTP/1.1\r\n")
    assert f"content-length: {4 + len(block)}".encode() in head.lower()
    assert b"transfer-encoding" not in head.lower()
    assert b"expect" not in head.lower()
    assert b"authorization: bearer s3cret-token" in head.lower()
    assert body == b"head" + block


@FETCH
async def test_nobody_listens(fetch: Any, spool: ModelStore) -> None:
    async with listening() as peer:
        pass
    async with calling(**LOOPBACK) as agents:
        assert await failure(fetch(agents, spool, at(peer))) == "could not be connected to"


@FETCH
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "broke off (ServerDisconnectedError)"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel", "broke off (ClientPayloadError)"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", "broke off (ClientPayloadError)"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nhello\r\n", "did not answer in HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 100_000 + b": 1\r\n\r\n", "did not answer in HTTP"),
    ],
)
async def test_an_answer_that_is_cut_or_is_none(
    fetch: Any, sent: bytes, words: str, spool: ModelStore, tmp_path: Path
) -> None:
    async with listening(sent) as peer, calling(**LOOPBACK) as agents:
        assert words in await failure(fetch(agents, spool, at(peer)))
        assert not any(name.endswith(".part") for name in spooled(tmp_path))


@FETCH
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel"])
async def test_an_agent_that_falls_silent(fetch: Any, sent: bytes, spool: ModelStore, tmp_path: Path) -> None:
    async with listening(sent, for_ever) as peer, calling(**LOOPBACK, read_seconds=0.05, poll_seconds=0.01) as agents:
        assert await failure(fetch(agents, spool, at(peer))) == "did not answer in time"
    assert spooled(tmp_path) == []


async def test_a_probe_takes_no_longer_than_a_connection_may() -> None:
    patient: dict[str, Any] = LOOPBACK | {"read_seconds": 3600, "connect_seconds": 0.05}
    async with listening(b"", for_ever) as peer, calling(**patient) as agents, asyncio.timeout(20):
        assert not await agents.is_healthy(at(peer))


@FETCH
async def test_an_encoded_body_is_not_decoded_behind_our_back(fetch: Any, spool: ModelStore, tmp_path: Path) -> None:
    body = gzip.compress(b"x" * 10**6)
    async with listening(reply("200 OK", body, content_encoding="gzip")) as peer, calling(**LOOPBACK) as agents:
        assert "Content-Encoding 'gzip'" in await failure(fetch(agents, spool, at(peer)))
    assert spooled(tmp_path) == []


@FETCH
async def test_a_body_without_end_is_not_read_to_its_end(fetch: Any, spool: ModelStore, tmp_path: Path) -> None:
    hung_up = asyncio.Event()

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        finally:
            hung_up.set()

    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    async with listening(head, flood) as peer, calling(**LOOPBACK, max_bytes=10**6) as agents, asyncio.timeout(20):
        assert await failure(fetch(agents, spool, at(peer))) == "sent a body of more than 1000000 bytes"
        await hung_up.wait()
    assert spooled(tmp_path) == []


async def test_an_agent_that_refuses_before_it_has_read_the_model(spool: ModelStore) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply("401 Unauthorized", b"wrong s3cret-token"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    agent = profile(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", auth_token="s3cret-token")
    async with server, calling(**LOOPBACK) as agents:
        message = await failure(agents.hand_over(agent, "t", (b"", memoryview(bytes(10**7))), spool))
    assert "s3cret" not in message


async def test_our_own_agent_speaks_the_protocol(spool: ModelStore) -> None:
    host = AgentHost()
    host.add("a", AddingTrainer(), token="s3cret-token")
    agent = profile(f"http://host{host.path('a')}", auth_token="s3cret-token")
    agents = AgentCaller(AgentSettings(), max_bytes=10_000, transport=httpx.ASGITransport(host))
    task = Task(id="t.1.a.fit", kind="fit", training_id="t", round=1, deadline_seconds=60.0)
    payload = pack({"w": np.zeros(2, np.float32)}).payload(task_metadata(task))

    assert await agents.is_healthy(agent)
    assert not await agents.is_healthy(profile(agent.url + "/nowhere"))
    model = await agents.initial_model(agent, spool)
    assert decode(spool.map(model.sha256))[0]["w"].tolist() == [1.0, 2.0]
    assert (await agents.poll(agent, task.id, 0.0, spool)).answer == "unknown"
    answer = await agents.hand_over(agent, task.id, payload, spool)
    while answer.answer == "working":
        answer = await agents.poll(agent, task.id, 5.0, spool)
    assert answer.file is not None
    update, metadata = decode(spool.map(answer.file.sha256))
    assert update["w"].tolist() == [1.0, 1.0]
    assert read_result(metadata).num_examples == 2
    await agents.forget(agent, task.id)
    assert (await agents.poll(agent, task.id, 0.0, spool)).answer == "unknown"
    assert "answered 401" in await failure(agents.poll(profile(agent.url), task.id, 0.0, spool))
    await agents.close()
    host.close()


async def test_an_agents_connection_is_kept_from_one_round_to_the_next(spool: ModelStore) -> None:
    working = reply("202 Accepted", connection="")
    async with listening(working, answering(working)) as peer, calling(**LOOPBACK) as agents:
        agent = profile(peer.url)
        for _ in range(2):
            assert await hand_over(agents, spool, agent) == Reply("working")
            assert await poll(agents, spool, agent) == Reply("working")
            await agents.forget(agent, "t.1.a.fit")
        assert peer.connections == 1


async def test_connections_of_a_burst_fall_idle(spool: ModelStore) -> None:
    used: list[int] = []
    crowd = asyncio.Barrier(3)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                used.append(writer.get_extra_info("peername")[1])
                if len(used) <= crowd.parties:
                    await crowd.wait()
                writer.write(reply("202 Accepted", connection=""))
        writer.close()

    server = await asyncio.start_server(answer, HERE, 0)
    agent = profile(f"http://{HERE}:{server.sockets[0].getsockname()[1]}")
    async with server, calling(**LOOPBACK) as agents, asyncio.timeout(20):
        await asyncio.gather(*(poll(agents, spool, agent) for _ in range(crowd.parties)))
        for _ in range(4):
            await poll(agents, spool, agent)
    assert len(set(used[:3])) == 3
    assert len(set(used[3:])) == 1  # of the three, two are used no more, so that they can be closed
