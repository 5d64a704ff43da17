"""Run the agents of a benchmark behind links of a given speed, in a process of their own.

``SERVER KEY_FILE CLIENTS FLOATS BETWEEN``: each agent has a TCP proxy, which lets bytes through at the speed of the
link over which they would come: the client's own link to the server, or, if a relay calls, a link between clients of
BETWEEN megabytes a second. Calls share the speed of a link. Its two directions do not.
"""

import asyncio
import contextlib
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.fleet import Idler, client_id
from tcsfeel.agent.host import AgentHost
from tcsfeel.agent.listening import listening
from tcsfeel.agent.membership import registered
from tcsfeel.agent.registration import Member
from tcsfeel.agent.relaying import Relaying
from tcsfeel.agent.trainer import Profile
from tcsfeel.wire.grants import PREFIX

HOST = "127.0.0.1"
SLOWEST, FASTEST = 0.5, 2.0
"""Megabytes a second of the clients' links to the server, which are spread evenly between these."""

PIECE_BYTES = 1 << 14
HEAD_BYTES = 1 << 16
OF_A_RELAY = b"bearer " + PREFIX.encode()
MEGABIT = 8.0  # to the megabyte


def speed_of(number: int, clients: int) -> float:
    """Return the megabytes a second of the link between a client and the server."""
    return SLOWEST + (FASTEST - SLOWEST) * number / max(1, clients - 1)


class Lane:
    """One direction of a link, through which bytes pass one after the other, whichever call they belong to."""

    def __init__(self, megabytes_a_second: float) -> None:
        self._rate = megabytes_a_second * 1e6
        self._free_at = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes until its end."""
        while piece := await reader.read(PIECE_BYTES):
            await self.pass_on(piece, writer)
        writer.write_eof()

    async def pass_on(self, piece: bytes, writer: asyncio.StreamWriter) -> None:
        """Pass on some bytes in the time that they need."""
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + len(piece) / self._rate
        await asyncio.sleep(self._free_at - now)
        writer.write(piece)
        await writer.drain()


class Link:
    """Both directions of a link."""

    def __init__(self, megabytes_a_second: float) -> None:
        self.there = Lane(megabytes_a_second)
        self.back = Lane(megabytes_a_second)


class Shaped:
    """The links of one client, on a port of their own."""

    def __init__(self, upstream: tuple[str, int], to_server: Link, between: Link) -> None:
        self._upstream = upstream
        self._to_server = to_server
        self._between = between

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection over the link of its caller, as its first request tells who that is."""
        agent: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            link = self._between if OF_A_RELAY in head.lower() else self._to_server
            answers, agent = await asyncio.open_connection(*self._upstream)
            await link.there.pass_on(head, agent)
            async with asyncio.TaskGroup() as both:
                both.create_task(link.there.carry(reader, agent))
                both.create_task(link.back.carry(answers, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass  # one of the two has hung up
        finally:
            for end in (writer, agent):
                if end is not None:
                    end.transport.abort()


@asynccontextmanager
async def behind_links(upstream: tuple[str, int], clients: int, between: float) -> AsyncIterator[list[int]]:
    """Shape the links of each client while the block runs. Gives their ports."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                await asyncio.start_server(
                    Shaped(upstream, Link(speed_of(number, clients)), Link(between)).serve, HOST, 0, limit=HEAD_BYTES
                )
            )
            for number in range(clients)
        ]
        yield [server.sockets[0].getsockname()[1] for server in servers]


class Linked(Idler):
    """A client that states the speed of its link to the server."""

    def __init__(self, number: int, floats: int, clients: int) -> None:
        super().__init__(number, floats)
        self._linked = replace(super().profile(), bandwidth=MEGABIT * speed_of(number, clients), latency=0.0)

    def profile(self) -> Profile:
        return self._linked


async def fleet(server: str, key: str, clients: int, floats: int, between: float) -> None:
    """Serve the agents until cancelled."""
    host = AgentHost(threads=1)
    for number in range(clients):
        trainer = Linked(number, floats, clients)
        host.add(client_id(number), trainer, token=secrets.token_urlsafe(16), relaying=Relaying())
    async with (
        listening(host, HOST, 0) as url,
        behind_links((HOST, int(url.rpartition(":")[2])), clients, between) as ports,
    ):
        members = [
            Member(name, f"http://{HOST}:{port}{host.path(name)}", agent.token, agent.trainer, relay=True)
            for port, (name, agent) in zip(ports, host.agents.items(), strict=True)
        ]
        async with registered(members, server, key, heartbeat_seconds=30):
            await asyncio.Event().wait()


def main() -> None:
    _, server, key_file, clients, floats, between = sys.argv
    key = Path(key_file).read_text().strip()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(fleet(server, key, int(clients), int(floats), float(between)))
