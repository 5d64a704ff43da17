"""The connection to an agent: what it sends is received directly into the buffer in which it is used.

Bytes are received into `target`. If it is full, nothing more is read, so that an agent can fill no more memory than it
is given. The caller is woken when as many bytes as it waits for have come, and not for each packet.
"""

import asyncio
import contextlib

from app.services.tasks.patience import Patience, TooSlow

_OWN_BYTES = 1 << 12  # of the buffer that each connection has: most heads fit into it, and the bodies of most errors
_WRITTEN_BYTES = 1 << 16  # that the system has not taken yet, before more is written


class Wire(asyncio.BufferedProtocol):
    """The bytes of a connection.

    Attributes:
        target: where bytes are received. At first it is a small buffer of the connection's own.
        filled: how many bytes of the target have been received.
        ended: whether nothing more will come.
        full: whether the system takes nothing more at the moment.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._own = memoryview(bytearray(_OWN_BYTES))
        self.target = self._own
        self.filled = 0
        self.ended = self.full = False
        self._lost = self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = 0
        self._earning: Patience | None = None

    @property
    def is_quiet(self) -> bool:
        """Tell whether it is open, and nothing has come."""
        return not (self.filled or self.ended)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (what asyncio makes for a socket)
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITTEN_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self.target[self.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self.filled += nbytes
        if self.filled == len(self.target):
            self._pause()
        if self._earning is not None:
            self._earning.earn(nbytes)
        if self.filled >= self._wanted:
            self._wake()

    def eof_received(self) -> None:
        self.ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.ended = self._lost = True
        self.full = False
        self._wake()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._wake()

    def receive_into(self, target: memoryview, filled: int) -> None:
        """Receive into another buffer, in which the first bytes are there already."""
        self.target, self.filled = target, filled
        if filled == len(target):
            self._pause()
        elif self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def let_go(self) -> None:
        """Receive into the own buffer again, and forget what is in it."""
        self.receive_into(self._own, 0)

    async def receive(self, least: int, patience: Patience, *, earning: bool = False) -> None:
        """Wait until the target has `least` bytes, or nothing more comes.

        `earning` says that bytes add time again. Raises `TooSlow`.
        """
        if self.filled < least and not self.ended:
            self._earning = patience if earning else None
            await self._wait(least, patience)

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes. Write no more while it is `full`. Raises `ConnectionError`."""
        if self._transport is None or self._lost:
            raise ConnectionResetError
        self._transport.write(data)

    async def room(self, patience: Patience) -> None:
        """Wait until it is not `full`, until something comes, or until no time is left.

        Bytes that the agent has taken add time again. Raises `TooSlow`.
        """
        if self._transport is None or not self.full:
            return
        before = self._transport.get_write_buffer_size()
        with contextlib.suppress(TooSlow):  # unless some of it has moved meanwhile
            await self._wait(self.filled + 1, patience)
        patience.earn(before - self._transport.get_write_buffer_size())
        if patience.is_over:
            raise TooSlow("the agent did not read the request in time")

    def close(self) -> None:
        """Close the connection at once, also if there is still something to be sent."""
        if self._transport is not None:
            self._transport.abort()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    async def _wait(self, wanted: int, patience: Patience) -> None:
        self._wanted = wanted
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await patience.wait(self._waiter)
        finally:
            self._waiter = self._earning = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
