"""A server in the test's process on a real socket, and callers that write bytes to it as they like."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from tcsfeel.inbound import Bounds
from tcsfeel.inbound.arrivals import Arrivals
from tcsfeel.inbound.connection import Connection
from tcsfeel.inbound.server import Server, listeners

PATIENCE = 30.0
PROTOCOL: type[Connection] = Connection
"""What handles the connections. `tests/http/test_connections.py` runs the same tests with the control plane's."""
SHORT = 0.05  # a deadline that a test waits for


@dataclass(frozen=True)
class Served:
    """A running server."""

    server: uvicorn.Server
    arrivals: Arrivals
    port: int


@asynccontextmanager
async def served(
    app: Any, *, keep_alive: Any = 5, tls: ssl.SSLContext | None = None, **bounds: Any
) -> AsyncIterator[Served]:
    """Serve an ASGI application within these bounds."""
    limits = Bounds(**bounds)
    config = uvicorn.Config(
        app,
        http=PROTOCOL,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=keep_alive,
    )
    server = Server(config, limits, tls)
    sockets = listeners("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    serving = asyncio.create_task(server._serve(sockets))
    while not server.started:  # noqa: ASYNC110  (uvicorn rings no bell)
        await asyncio.sleep(0.005)
    try:
        yield Served(server, server.arrivals, port)
    finally:
        server.should_exit = True
        for connection in list(server.arrivals.connections):
            connection.transport.abort()
        await serving


@dataclass(frozen=True)
class Caller:
    """One connection to a server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def flood(self, data: bytes) -> int:
        """Send again and again until the server takes no more; gives how many bytes went out."""
        sent = 0
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.send(data)
                    sent += len(data)
                    await asyncio.sleep(0)
        except ConnectionError:
            return sent

    def reset(self) -> None:
        """Reset the connection, instead of closing it."""
        at_once = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.writer.transport.abort()

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        received = []
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(65_536):
                    received.append(piece)
        return b"".join(received)

    async def answer(self) -> tuple[int, bytes]:
        """The status and the head of the next answer."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1]), head.lower()


@asynccontextmanager
async def calling(port: int, *, address: str = "127.0.0.1") -> AsyncIterator[Caller]:
    """A connection from an address of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()


async def refusing(_scope: Any, _receive: Any, send: Any) -> None:
    """Answers 401 before it has asked for the body."""
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body, and answers with its length; under /known the caller has shown a key."""
    if scope["path"] == "/known":
        scope["extensions"]["tcsfeel.welcome"]()
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what sockets do, which ring no bell."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  (see above)
            await asyncio.sleep(0.005)
