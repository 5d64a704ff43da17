"""Calls to agents that break, and calls over real sockets: answers cut, late, endless or none, connections kept."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from app.domain.clients import Endpoint
from app.services.tasks.address_guard import AddressGuard
from app.services.tasks.bodies import TaskBody
from app.services.tasks.connections import AgentTransport
from app.services.tasks.requests import Request
from app.settings import AgentSettings
from app.store.model_store import ModelStore
from tests.services.asking import AGENT, FETCH, HELLO, failure, poll, spooled
from tests.services.breaks import BREAKS
from tests.services.fakes import LOOPBACK, Peer, calling, endpoint, for_ever, listening, reply


@FETCH
@pytest.mark.parametrize(("error", "words"), BREAKS, ids=lambda value: type(value).__name__)
async def test_a_call_that_breaks_counts_against_the_client(
    fetch: Any, error: Exception, words: str, spool: ModelStore
) -> None:
    def agent(_: httpx2.Request) -> httpx2.Response:
        raise error

    async with calling(agent) as agents:
        assert await failure(fetch(agents, spool)) == words
        assert not (await agents.health(AGENT)).alive
        await agents.forget(AGENT, "t")  # which is not worth an error


@FETCH
@pytest.mark.parametrize(("error", "words"), BREAKS[:-1], ids=lambda value: type(value).__name__)
async def test_a_body_that_breaks_counts_against_the_client(
    fetch: Any, error: Exception, words: str, spool: ModelStore, tmp_path: Path
) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"hel"
        raise error

    async with calling(lambda _: httpx2.Response(200, content=breaking())) as agents:
        assert await failure(fetch(agents, spool)) == words
    assert spooled(tmp_path) == []


@FETCH
@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", ".", "999.999.999.999", "[v1.x]", "127.1", "a\\b"])
async def test_an_url_that_no_resolver_can_take_counts_against_the_client(
    fetch: Any, host: str, spool: ModelStore
) -> None:
    async with calling() as agents:
        agent = endpoint(f"http://{host}/")
        assert await failure(fetch(agents, spool, agent)) == "its URL cannot be called"
        assert not (await agents.health(agent)).alive


@pytest.mark.parametrize("host", ["agent.invalid", "xn--.invalid", "xn--zz--.invalid"])
async def test_a_name_that_stands_for_nothing_counts_against_the_client(host: str, spool: ModelStore) -> None:
    async with calling() as agents:
        assert await failure(poll(agents, spool, endpoint(f"http://{host}/"))) == "its host name cannot be resolved"


@FETCH
@pytest.mark.parametrize("error", [RuntimeError("what"), KeyError("x"), RecursionError()], ids=repr)
@pytest.mark.parametrize("in_body", [False, True], ids=["call", "body"])
async def test_what_nobody_thought_of_fails_its_own_call(
    fetch: Any, error: Exception, in_body: bool, spool: ModelStore
) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"hel"
        raise error

    def agent(_: httpx2.Request) -> httpx2.Response:
        if in_body:
            return httpx2.Response(200, content=breaking())
        raise error

    with capture_logs() as logs:
        async with calling(agent) as agents:
            message = await failure(fetch(agents, spool))
    assert message == f"its answer could not be read ({type(error).__name__})"
    assert [(line["event"], line["log_level"]) for line in logs] == [("an agent's answer could not be read", "error")]


@FETCH
async def test_a_server_without_memory_does_not_blame_the_client(fetch: Any, spool: ModelStore) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"hel"
        raise MemoryError

    async with calling(lambda _: httpx2.Response(200, content=breaking())) as agents:
        with pytest.raises(MemoryError):
            await fetch(agents, spool)


# Over real sockets


def at(peer: Peer) -> Endpoint:
    return endpoint(peer.url, auth_token="s3cret-token")


@FETCH
async def test_a_result_comes_over_a_socket(fetch: Any, spool: ModelStore) -> None:
    async with listening(reply("200 OK", b"hello")) as peer, calling(**LOOPBACK) as agents:
        assert (await fetch(agents, spool, at(peer))).file == HELLO


async def test_a_model_is_sent_with_its_length_and_not_in_chunks(spool: ModelStore) -> None:
    block = bytes(range(256)) * 4000
    async with listening(reply("202 Accepted")) as peer, calling(**LOOPBACK) as agents:
        await agents.hand_over(at(peer), "t", TaskBody(b"head", memoryview(block)), spool)
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /tasks/t HTTP/1.1\r\n")
    assert f"content-length: {4 + len(block)}".encode() in head.lower()
    assert b"transfer-encoding" not in head.lower()
    assert b"expect" not in head.lower()
    assert b"authorization: bearer s3cret-token" in head.lower()
    assert body == b"head" + block


async def test_the_transport_gives_a_response_whose_body_is_read_as_it_comes() -> None:
    settings = AgentSettings(**LOOPBACK)
    transport = AgentTransport(settings, AddressGuard(settings.allowed_networks))
    async with listening(reply("202 Accepted", b"hello")) as peer:
        response = await transport.exchange(Request("GET", peer.url, "/x"))
        assert (response.status, response.length, response.header("Content-Length")) == (202, 5, "5")
        assert [bytes(block) async for block in response.body] == [b"hello"]
        await response.close()
        await transport.close()
    assert peer.requests[0].startswith(b"GET /x HTTP/1.1\r\n")


@FETCH
async def test_nobody_listens(fetch: Any, spool: ModelStore) -> None:
    async with listening() as peer:
        pass
    async with calling(**LOOPBACK) as agents:
        assert await failure(fetch(agents, spool, at(peer))) == "the agent could not be reached"


@FETCH
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "the agent closed the connection before it answered"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "the agent closed the connection in the middle of its answer"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel",
            "the agent closed the connection in the middle of its answer",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
            "the agent closed the connection in the middle of its answer",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nhello\r\n", "the agent did not answer in HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the agent did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 100_000 + b": 1\r\n\r\n", "the agent did not answer in HTTP"),
    ],
)
async def test_an_answer_that_is_cut_or_is_none(
    fetch: Any, sent: bytes, words: str, spool: ModelStore, tmp_path: Path
) -> None:
    async with listening(sent) as peer, calling(**LOOPBACK) as agents:
        assert await failure(fetch(agents, spool, at(peer))) == words
        assert not any(name.endswith(".part") for name in spooled(tmp_path))


@FETCH
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel"])
async def test_an_agent_that_falls_silent(fetch: Any, sent: bytes, spool: ModelStore, tmp_path: Path) -> None:
    async with listening(sent, for_ever) as peer, calling(**LOOPBACK, read_seconds=0.05, poll_seconds=0.01) as agents:
        assert await failure(fetch(agents, spool, at(peer))) == "the agent did not answer in time"
    assert spooled(tmp_path) == []


async def test_a_probe_takes_no_longer_than_a_connection_may() -> None:
    patient: dict[str, Any] = LOOPBACK | {"read_seconds": 3600, "connect_seconds": 0.05}
    async with listening(b"", for_ever) as peer, calling(**patient) as agents, asyncio.timeout(20):
        assert not (await agents.health(at(peer))).alive


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
    begin = head + (2).to_bytes(8, "little") + b"{}"  # a header that no first look refuses
    async with listening(begin, flood) as peer, calling(**LOOPBACK, max_bytes=10**6) as agents, asyncio.timeout(20):
        assert await failure(fetch(agents, spool, at(peer))) == "the agent sent a body of more than 1000000 bytes"
        await hung_up.wait()
    assert spooled(tmp_path) == []


async def test_an_agent_that_refuses_before_it_has_read_the_model(spool: ModelStore) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply("401 Unauthorized", b"wrong s3cret-token"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    agent = endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", auth_token="s3cret-token")
    async with server, calling(**LOOPBACK) as agents:
        message = await failure(agents.hand_over(agent, "t", TaskBody(b"", memoryview(bytes(10**7))), spool))
    assert "s3cret" not in message
