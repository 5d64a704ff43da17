"""Run uvicorn's server with our own listening sockets, connections and limits."""

import asyncio
import socket
import ssl
from typing import Any, cast

import uvicorn

from tcsfeel.inbound.acceptor import Acceptor
from tcsfeel.inbound.arrivals import Arrivals
from tcsfeel.inbound.bounds import Bounds

LAST_SECONDS = 1.0
"""How long the server waits for connections whose requests it has called off: they get a 503, and end by themselves.
Then those are closed whose callers do not read."""
LOOK_SECONDS = 0.01


class Server(uvicorn.Server):
    """Serves the sockets that it gets. Its configuration has to name a `Connection` as its protocol.

    With `tls`, it speaks HTTPS.
    """

    def __init__(self, config: uvicorn.Config, bounds: Bounds, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(config)
        self.tls = tls
        self.arrivals = self.server_state = Arrivals(bounds)
        self._acceptors: list[Acceptor] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])  # starts the application, without a listener of uvicorn
        loop, protocol = asyncio.get_running_loop(), cast(Any, self.config.http_protocol_class)

        def connection() -> Any:
            return protocol(self.config, self.arrivals, self.lifespan.state, loop)

        self._acceptors = [Acceptor(listener, connection, self.arrivals, self.tls) for listener in sockets or []]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for acceptor in self._acceptors:
            await acceptor.close()
        self.arrivals.refusals.end()
        await super().shutdown(sockets)
        loop = asyncio.get_running_loop()
        end = loop.time() + LAST_SECONDS
        while self.arrivals.connections and loop.time() < end and not self.force_exit:  # noqa: ASYNC110  (sockets ring no bell)
            await asyncio.sleep(LOOK_SECONDS)
        for connection in list(self.arrivals.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # in which their sockets are closed


def listeners(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of a host. Raises `OSError`."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            sockets.append(_listener(family, address))
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _listener(family: int, address: Any) -> socket.socket:
    listener = socket.create_server(address, family=family)
    # asyncio switches Nagle's algorithm off only where a socket names its protocol, which create_server leaves out:
    # each answer would wait 40 ms for the caller's delayed acknowledgement
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())
