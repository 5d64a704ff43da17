"""A link that is cut again and again, or slow: a TCP proxy that resets connections after some bytes, and counts them.

A reset throws away what the system still holds for sending. On the loopback interface that can be megabytes, which no
narrow link holds, so the proxy allows little of it.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_PIECE = 1 << 16
_HELD = 1 << 16  # bytes that the system holds for sending


@dataclass(eq=False, kw_only=True)
class CutLink:
    """A proxy to `upstream`. It resets a connection when `every` bytes have passed in one of its directions.

    Attributes:
        rate: the bytes a second that pass in each direction of a connection; None if there is no limit.
        upwards: the bytes that passed to the upstream.
        downwards: those that passed from it.
        cuts: how many connections were reset.
    """

    upstream: tuple[str, int]
    every: int = 1 << 62
    rate: float | None = None
    upwards: int = 0
    downwards: int = 0
    cuts: int = 0
    port: int = 0
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(lambda _: _reset(writer))  # also if it was cancelled before it began

    async def close(self) -> None:
        await asyncio.sleep(0.01)  # in which connections begin that were accepted just now
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0.01)  # in which the sockets of connections that were reset are closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            answers, requests = await asyncio.open_connection(*self.upstream)
            ends.append(requests)
            for end in ends:
                _narrow(end)
            both = {
                asyncio.create_task(self._pass(reader, requests, up=True)),
                asyncio.create_task(self._pass(answers, writer, up=False)),
            }
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in both:
                    one.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except ConnectionError:
            pass
        finally:
            for end in ends:
                _reset(end)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
        left = self.every
        most = _PIECE if self.rate is None else max(1, int(self.rate / 10))
        while left and (piece := await source.read(min(most, left))):
            if self.rate is not None:
                await asyncio.sleep(len(piece) / self.rate)
            sink.write(piece)
            await sink.drain()
            left -= len(piece)
            if up:
                self.upwards += len(piece)
            else:
                self.downwards += len(piece)
        self.cuts += not left


@asynccontextmanager
async def cut_link(
    upstream: tuple[str, int], *, every: int = 1 << 62, rate: float | None = None
) -> AsyncIterator[CutLink]:
    """Run a link on a free port."""
    link = CutLink(upstream=upstream, every=every, rate=rate)
    server = await asyncio.start_server(link.accept, "127.0.0.1", 0, limit=_PIECE)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        await link.close()


def _narrow(writer: asyncio.StreamWriter) -> None:
    writer.transport.set_write_buffer_limits(high=0)
    peer: socket.socket | None = writer.get_extra_info("socket")
    if peer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _HELD)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset, as a lost link does."""
    peer: socket.socket | None = writer.get_extra_info("socket")
    if peer is not None:
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
