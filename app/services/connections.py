"""Connections to agents: httpx over aiohttp (ADR 0002), checked as they are made, kept, and told of when they break."""

import socket
from collections.abc import AsyncIterator, Iterator
from functools import partial

import aiohttp
import httpx
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream, map_aiohttp_exceptions

from app.services.addresses import guarded_socket, refusal
from app.settings import AgentSettings

PROBE_CONNECTIONS = 50  # beside those that tasks may hold, so that long polls never keep a health probe waiting
KEEP_ALIVE_SECONDS = 60.0  # less than the agents' own, or a call could meet a connection that is being closed

_READ_AHEAD = 1 << 17  # bytes of a body; one more piece, of 256 KiB at most, is read beyond it

# How a call breaks at the agent's end. Other errors of the operating system are ours: a disk that is full, say.
BROKEN = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ConnectionError, TimeoutError)
# The transport's own names are rough (a refused connection is a timeout there), so aiohttp's error behind them counts.
_WORDS = (
    ((aiohttp.ClientConnectorDNSError,), "its host name cannot be resolved"),
    ((aiohttp.ClientConnectorError, httpx.ConnectError), "could not be connected to"),
    ((TimeoutError, httpx.TimeoutException), "did not answer in time"),
    ((httpx.InvalidURL, ValueError), "its URL cannot be called"),
    ((aiohttp.ClientResponseError,), "did not answer in HTTP"),
)


class AgentTransport(AiohttpTransport):
    """For calls to agents, and nothing else."""

    def __init__(self, settings: AgentSettings) -> None:
        super().__init__(client=partial(_session, settings))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if isinstance(response.stream, AiohttpResponseStream):
            response.stream = _Pieces(response.stream)
        return response


def describe(error: BaseException) -> str:
    """Say what happened in a few words, without an URL's credentials."""
    if (refused := refusal(error)) is not None:
        return str(refused)
    cause = next((cause for cause in _causes(error) if isinstance(cause, aiohttp.ClientError)), error)
    return next((words for kinds, words in _WORDS if isinstance(cause, kinds)), f"broke off ({type(cause).__name__})")


class _Pieces(AiohttpResponseStream):
    """A body in the pieces in which it came: pieces of a size would be cut from these and joined, a copy each time."""

    def __init__(self, whole: AiohttpResponseStream) -> None:
        super().__init__(whole._aiohttp_response)  # noqa: SLF001  (there is no other way to it)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with map_aiohttp_exceptions():
            async for piece, _ in self._aiohttp_response.content.iter_chunks():
                yield piece


class _Connector(aiohttp.TCPConnector):
    """Uses the connection again that was used last.

    aiohttp takes the one that has rested longest, so that after a burst all of its connections stay in use, and open.
    """

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        if idle := self._conns.get(key):
            idle.rotate(1)
        return await super()._get(key, traces)


def _session(settings: AgentSettings) -> aiohttp.ClientSession:
    connector = _Connector(
        limit=settings.concurrency + PROBE_CONNECTIONS,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        socket_factory=guarded_socket(settings.allowed_networks),
        family=socket.AF_UNSPEC,
    )
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, read_bufsize=_READ_AHEAD
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
