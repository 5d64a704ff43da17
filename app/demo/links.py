"""Let bytes travel over TCP at the speed and with the latency of a link, through a proxy before the one that is called.

A connection belongs to one caller, whom its first request names. Its bytes pass over the link between the two. All
connections over a link share its speed. Its two directions do not share theirs. What TCP itself would exchange before
the first byte takes no time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

HOST = "127.0.0.1"
PIECE_BYTES = 1 << 14
HEAD_BYTES = 1 << 16
MOST_PIECES = 256  # of a connection on the way in one direction: 100 Mbps with 100 ms have 77

Piece = tuple[float, bytes]  # and when it arrives


class Lane:
    """One direction of a link: a token bucket that holds no more than one piece, and a latency.

    Args:
        megabytes_a_second: the speed, with 1e6 bytes to the megabyte.
        latency: the seconds from when a byte has left until it arrives.
        clock: monotonic seconds.
        sleep: waits for this many seconds.
    """

    def __init__(
        self,
        megabytes_a_second: float,
        latency: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._rate = megabytes_a_second * 1e6
        self._latency = latency
        self._clock = clock
        self._sleep = sleep
        self._free_at = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b"") -> None:
        """Pass on `first`, and then what is read until its end."""
        on_the_way = asyncio.Queue[Piece](MOST_PIECES)
        async with asyncio.TaskGroup() as ends:
            ends.create_task(self._enter(reader, first, on_the_way))
            ends.create_task(self._leave(on_the_way, writer))

    async def _enter(self, reader: asyncio.StreamReader, first: bytes, on_the_way: "asyncio.Queue[Piece]") -> None:
        """Send pieces one after the other, so that the connections of a link take turns."""
        piece = first or await reader.read(PIECE_BYTES)
        while piece:
            now = self._clock()
            self._free_at = sent = max(now, self._free_at) + len(piece) / self._rate
            await on_the_way.put((sent + self._latency, piece))
            await self._sleep(sent - now)
            piece = await reader.read(PIECE_BYTES)
        await on_the_way.put((self._clock() + self._latency, b""))

    async def _leave(self, on_the_way: "asyncio.Queue[Piece]", writer: asyncio.StreamWriter) -> None:
        """Hand over each piece when it arrives."""
        while True:
            arrives, piece = await on_the_way.get()
            await self._sleep(max(0.0, arrives - self._clock()))
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()


class Link:
    """Both directions of a link, with the arguments of `Lane`. `there` leads from the caller to the one called."""

    def __init__(self, megabytes_a_second: float, latency: float = 0.0) -> None:
        self.there = Lane(megabytes_a_second, latency)
        self.back = Lane(megabytes_a_second, latency)


LinkOf = Callable[[bytes], Link]
"""Finds the link of a connection by the head of its first request."""


@asynccontextmanager
async def proxied(upstream: tuple[str, int], link_of: LinkOf) -> AsyncIterator[int]:
    """Listen while the block runs, and carry each connection to `upstream` over its link. Yields the port."""
    connections = set[asyncio.Task[None]]()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(_carry(reader, writer, upstream, link_of))
        connections.add(connection)
        connection.add_done_callback(connections.discard)

    async with await asyncio.start_server(serve, HOST, 0, limit=HEAD_BYTES) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            ending = list(connections)
            for connection in ending:
                connection.cancel()
            await asyncio.gather(*ending, return_exceptions=True)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: tuple[str, int], link_of: LinkOf
) -> None:
    called: asyncio.StreamWriter | None = None
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        link = link_of(head)
        answers, called = await asyncio.open_connection(*upstream)
        async with asyncio.TaskGroup() as both:
            both.create_task(link.there.carry(reader, called, head))
            both.create_task(link.back.carry(answers, writer))
    except* (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # one of the two has hung up, or what came is not HTTP
    finally:
        for end in (writer, called):
            if end is not None:
                end.transport.abort()
