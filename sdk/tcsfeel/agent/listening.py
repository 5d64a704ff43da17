"""Listen on a port, and serve an app there."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn

from tcsfeel.agent.asgi import ASGIApp
from tcsfeel.agent.errors import CannotListen
from tcsfeel.inbound import Bounds
from tcsfeel.inbound.bounds import places
from tcsfeel.inbound.connection import Connection
from tcsfeel.inbound.server import Server, listeners

LAST_PORT = 65535
KEEP_ALIVE_SECONDS = 75
PAUSE_SECONDS = 60.0  # that the transfer of a task may pause: links of devices are worse than those of callers
GRACE_SECONDS = 5  # that an answer which is being sent has left at the end


def bind(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises `CannotListen`."""
    if not 0 <= port <= LAST_PORT:
        raise CannotListen(host, port, f"a port must be from 0 to {LAST_PORT}")
    try:
        first, *others = listeners(host, port)
    except OSError as error:
        raise CannotListen(host, port, error.strerror or str(error)) from error
    for other in others:
        other.close()
    return first


@asynccontextmanager
async def listening(app: ASGIApp, host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve `app` while the block runs, over HTTPS with `tls`.

    Yields its base URL with the actual port. Raises `CannotListen`.
    """
    bounds = Bounds(places=places(), grace_seconds=PAUSE_SECONDS)
    listener = bind(host, port)
    bound = listener.getsockname()[1]
    config = uvicorn.Config(
        app,
        http=Connection,
        access_log=False,
        log_config=None,
        log_level="warning",
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        backlog=bounds.backlog,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config, bounds, tls)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://[{host}]:{bound}" if ":" in host else f"{scheme}://{host}:{bound}"
    finally:
        server.should_exit = True
        await serving


class _Server(Server):
    """A server that leaves signals to `run`, because uvicorn would raise them again after its shutdown."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
