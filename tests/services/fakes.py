"""Agents that say what a test wants: over a transport without a network, and over real sockets."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from prometheus_client import CollectorRegistry

from app.clock import SystemClock
from app.domain.clients import Endpoint, Profile
from app.domain.failures import Failure
from app.metrics import Metrics
from app.services.access.secrets import ServerSecret
from app.services.access.tokens import AgentTokens
from app.services.tasks.address_guard import AddressGuard, Service
from app.services.tasks.agents import AgentCaller
from app.services.tasks.connections import AgentTransport
from app.services.tasks.responses import Transport
from app.services.tasks.resuming import Resuming
from app.services.tasks.signer import Signer
from app.settings import AgentSettings
from tests.services.network import Network

SERVER_SEED = b"s" * 32  # of the key with which calls are signed
LOOPBACK: dict[str, Any] = {"allowed_networks": ("127.0.0.0/8",)}
HERE = "127.0.0.1"
SECRET = ServerSecret([b"the secret of the server in tests"])
TOKENS = AgentTokens(SECRET)
FAILURE = Failure(phase="fit", training_id="t", round=1, reason="the agent answered 500")


class Highest(random.Random):
    """Draws the upper end of every range: the longest pause that jitter allows."""

    def random(self) -> float:
        return 1.0


def profile(url: str = "http://agent", **fields: Any) -> Profile:
    given: dict[str, Any] = {"data_size": 10, "compute_capacity": 1.0, "bandwidth": 8.0, "latency": 5.0}
    return Profile(url=url, **(given | fields))


def endpoint(url: str = "http://agent", auth_token: str | None = None, public_key: str | None = None) -> Endpoint:
    return Endpoint(url, auth_token, public_key)


def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), max_clients=100)


Answer = Callable[[httpx2.Request], httpx2.Response] | Callable[[httpx2.Request], Awaitable[httpx2.Response]]


@asynccontextmanager
async def calling(
    answer: Answer | None = None,
    *,
    max_bytes: int = 1000,
    services: Sequence[Service] = (),
    resuming: Resuming = Resuming(),  # noqa: B008  (it is frozen)
    **settings: Any,
) -> AsyncIterator[AgentCaller]:
    """A caller over the network, or, where an `answer` is given, without one."""
    given = AgentSettings(**settings)
    transport: Transport
    if answer is None:
        transport = AgentTransport(given, AddressGuard(given.allowed_networks, services=services))
    else:
        transport = Network(httpx2.MockTransport(answer))  # type: ignore[arg-type]  # each kind is taken
    signer = Signer([SERVER_SEED], SystemClock())
    caller = AgentCaller(
        given, max_bytes=max_bytes, tokens=TOKENS, transport=transport, signer=signer, resuming=resuming
    )
    try:
        yield caller
    finally:
        await caller.close()


@dataclass
class Peer:
    """A socket that listens, and what came in over its connections."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{HERE}:{self.port}"


def reply(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A complete HTTP response, after which the connection ends."""
    given: Mapping[str, str] = {"content_length": str(len(body)), "connection": "close"} | headers
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


Then = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(
    answer: bytes = b"", then: Then | None = None, *, host: str = HERE, port: int = 0
) -> AsyncIterator[Peer]:
    """A server that reads a request, sends `answer`, and does what it is told `then` before it hangs up."""
    peer = Peer()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        try:
            peer.requests.append(await _request(reader))
            writer.write(answer)
            await writer.drain()
            if then is not None:
                await then(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side hung up first
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, host, port)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)  # in which sockets are closed


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)


def answering(answer: bytes) -> Then:
    """Go on: take one request after the other on the same connection, and give each the same answer."""

    async def go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await _request(reader)
            writer.write(answer)

    return go_on


async def for_ever(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Say nothing more, and do not hang up."""
    await asyncio.Event().wait()
