"""The same connections with TLS: answers arrive whole, and callers that do not speak it keep nobody out."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tcsfeel.certificates import to_servers
from tests.authorities import Authority
from tests.tcsfeel.inbound.sockets import SHORT, Caller, calling, echo, refusing, served, until

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> ssl.SSLContext:
    return authority.server("localhost")


@asynccontextmanager
async def secure(port: int, ca: Path) -> AsyncIterator[Caller]:
    """Make a connection with TLS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=to_servers(ca), server_hostname="localhost")
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


async def repeating(scope: Any, receive: Any, send: Any) -> None:
    """Answers with as many bytes as the path says."""
    await echo(scope, receive, _ignore)
    size = int(scope["path"][1:])
    headers = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * size})


async def _ignore(_message: Any) -> None:
    pass


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
async def test_bodies_and_answers_come_whole(authority: Authority, tls: ssl.SSLContext, size: int) -> None:
    async with served(repeating, tls=tls) as server, secure(server.port, authority.ca) as caller:
        for _ in range(2):  # on one connection
            await caller.send(
                b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (size, size) + b"x" * size
            )
            assert (await caller.answer())[0] == 200
            assert await caller.reader.readexactly(size) == b"x" * size


async def test_a_caller_that_reads_nothing_is_given_up(authority: Authority, tls: ssl.SSLContext) -> None:
    size = 50_000_000  # far more than the kernel keeps
    async with (
        served(repeating, tls=tls, stall_seconds=0.2) as server,
        secure(server.port, authority.ca) as caller,
    ):
        await caller.send(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
        await until(lambda: len(server.arrivals.connections) == 1)
        transport = caller.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        await until(lambda: not server.arrivals.connections)


async def test_a_caller_who_is_refused_in_the_middle_of_a_body_hears_why(
    authority: Authority, tls: ssl.SSLContext
) -> None:
    async with served(refusing, tls=tls, linger_seconds=SHORT) as server, secure(server.port, authority.ca) as caller:
        await caller.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        status, answer = await caller.answer()
        assert (status, b"connection: close" in answer) == (401, True)
        assert await caller.flood(b"x" * 65_536) < 64 * 1024 * 1024


async def test_a_caller_without_tls_is_disconnected(tls: ssl.SSLContext) -> None:
    async with served(echo, tls=tls) as server, calling(server.port) as caller:
        await caller.send(GET)
        assert not (await caller.rest()).startswith(b"HTTP")
        assert not server.arrivals.connections


async def test_a_caller_that_never_shakes_hands_is_given_up(tls: ssl.SSLContext) -> None:
    async with served(echo, tls=tls, head_seconds=SHORT) as server, calling(server.port) as caller:
        assert await caller.rest() == b""


async def test_silent_callers_keep_nobody_out(authority: Authority, tls: ssl.SSLContext) -> None:
    async with served(echo, tls=tls, places=16) as server:  # of which strangers may have four
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(8)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in silent]
        await until(lambda: sum(task.done() for task in ended) >= 4)
        async with secure(server.port, authority.ca) as caller:
            await caller.send(GET)
            assert (await caller.answer())[0] == 200
        assert sum(task.done() for task in ended) < 8
    await asyncio.gather(*ended)  # a server that stops does not wait for them
    for _, writer in silent:
        writer.close()
