"""Listeners that nobody may connect to, and agents at the one address that is allowed."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.harnesses.ssrf.resolver import ALLOWED

STATUSES = ("301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect")
ELSEWHERE = (("192.0.2.254", socket.AF_INET), ("2001:db8::fe", socket.AF_INET6))  # documentation: nobody is there


@dataclass
class Canaries:
    """What came in, by the address that it came to."""

    port: int = 0
    connections: dict[str, int] = field(default_factory=dict)
    redirected: int = 0
    arrival: asyncio.Event = field(default_factory=asyncio.Event)


def interface_addresses() -> list[str]:
    """Return the addresses from which this machine would call other machines."""
    found = []
    for elsewhere, family in ELSEWHERE:
        with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect((elsewhere, 9))
            found.append(str(probe.getsockname()[0]))
    return [address for address in found if not address.startswith("127.") and address != "::1"]


@asynccontextmanager
async def listening(addresses: Sequence[str]) -> AsyncIterator[Canaries]:
    """Listen on these addresses at one port, and at `ALLOWED` with agents that redirect to the canaries."""
    canaries = Canaries()
    servers = []

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = str(writer.get_extra_info("sockname")[0])
        canaries.connections[at] = canaries.connections.get(at, 0) + 1
        canaries.arrival.set()
        writer.close()

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        canaries.redirected += 1
        status = STATUSES[canaries.redirected % len(STATUSES)]
        target = ("127.0.0.1", "[::1]", "localhost")[canaries.redirected % 3]
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                f"HTTP/1.1 {status}\r\nLocation: http://{target}:{canaries.port}/\r\n"
                "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            await writer.drain()
        writer.close()

    try:
        for address in addresses:
            server = await asyncio.start_server(note, address, canaries.port)
            servers.append(server)
            canaries.port = server.sockets[0].getsockname()[1]
        servers.append(await asyncio.start_server(redirect, ALLOWED, canaries.port))
        yield canaries
    finally:
        for server in servers:
            server.close()
