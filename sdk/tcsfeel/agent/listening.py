"""Listen on a port, serve an app, and handle the signals that end it."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from tcsfeel.agent.asgi import ASGIApp
from tcsfeel.agent.errors import AgentError, CannotListen
from tcsfeel.certificates import UnusableCertificate, to_callers
from tcsfeel.inbound import Bounds, Connection, Server, listeners
from tcsfeel.inbound.bounds import places

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


def secured(tls_cert: Path | None, tls_key: Path | None) -> ssl.SSLContext | None:
    """Make the context to serve HTTPS with a certificate and its key; None serves plain HTTP. Raises `AgentError`."""
    if tls_cert is None and tls_key is None:
        return None
    if tls_cert is None or tls_key is None:
        raise AgentError("the certificate of the agent and its private key must be given together")
    try:
        return to_callers(tls_cert, tls_key)
    except UnusableCertificate as error:
        raise AgentError(f"the agent cannot serve HTTPS: {error}") from None


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


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run until done, or until SIGINT or SIGTERM cancels; a second signal cuts the clean-up short.

    It logs to stderr if logging was not configured.

    Raises:
        AgentError: an event loop already runs in this thread, as in a notebook.
    """
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        work.close()
        raise AgentError(
            "an event loop already runs here, as in a notebook: use `async with hosting(...)` of tcsfeel.agent instead"
        )
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("httpx2").setLevel(logging.WARNING)

    async def until_told() -> None:
        task = asyncio.create_task(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Signals can be handled only in the main thread (ValueError, RuntimeError), and not by asyncio's loop on
            # Windows (NotImplementedError). In these cases, `asyncio.run` itself handles Ctrl-C, and also cancels.
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(until_told())


class _Server(Server):
    """A server that leaves signals to `run`, because uvicorn would raise them again after its shutdown."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
