"""Wrap the transport of a connection, so that the last answer arrives before it is closed."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

from tcsfeel.inbound.pace import Pace
from tcsfeel.inbound.parsing import Parser

ADDRESSES = {"peername", "sockname"}
LOOKS = 4  # how often the progress of a caller is checked within the time for which it may read nothing


class LingeringTransport(asyncio.Transport):
    """Closes a connection without reading the rest of the request.

    If a socket is closed while it has unread bytes, the connection is reset, and the caller may lose the answer that it
    has not read yet. So if `unread` says that more bytes may come, only our direction is closed first. The other one is
    closed `linger_seconds` after everything that was written has been sent. `Patience` limits the time for sending.
    """

    def __init__(self, transport: asyncio.Transport, *, linger_seconds: float, unread: Callable[[], bool]) -> None:
        super().__init__()
        self._transport = transport
        self._linger_seconds = linger_seconds
        self._unread = unread
        self._closing = False
        self._end: asyncio.TimerHandle | None = None
        self._written = 0

    @property
    def sent(self) -> int:
        """Return how many of the written bytes have been handed to the kernel."""
        return self._written - self.get_write_buffer_size()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows; addresses as host and port, which asyncio has read from the kernel once."""
        # uvicorn would ask the socket for them again, with two calls of the kernel for each connection.
        if name == "socket":
            return default
        found = self._transport.get_extra_info(name, default)
        return found[:2] if name in ADDRESSES and isinstance(found, tuple) else found

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._closing:
            self._transport.resume_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.is_closing():
            self._written += len(data)
            self._transport.write(data)

    def close(self) -> None:
        if self.is_closing():
            return
        self._closing = True
        if not self._unread():
            self._transport.close()
            return
        self._transport.pause_reading()
        try:
            if self._transport.can_write_eof():
                self._transport.write_eof()
        except OSError:  # the caller has reset the connection just now
            self._transport.abort()
        else:
            if self.get_write_buffer_size() == 0:
                self.emptied()

    def emptied(self) -> None:
        """Note that all that was written has been sent."""
        if self._closing and self._end is None:
            self._end = asyncio.get_running_loop().call_later(self._linger_seconds, self._transport.abort)

    def abort(self) -> None:
        self._transport.abort()

    def lost(self) -> None:
        """Note that the connection is gone."""
        self._closing = True
        del self._unread  # nothing asks any more, and it refers to the connection
        if self._end is not None:
            self._end.cancel()


class Patience:
    """Disconnects a caller that reads an answer too slowly; see `Pace`."""

    def __init__(
        self,
        seconds: float,
        rate: float,
        *,
        loop: asyncio.AbstractEventLoop,
        sent: Callable[[], int],
        give_up: Callable[[], None],
    ) -> None:
        self._seconds = seconds
        self._pace = Pace(seconds, rate)
        self._loop = loop
        self._sent = sent
        self.give_up = give_up
        self._seen = (0, 0.0)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to wait for the caller."""
        self.stop()
        self._seen = (self._sent(), self._loop.time())
        self._look_later()

    def stop(self) -> None:
        """Note that the caller has read everything that was sent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._count()

    def renew(self, rate: float) -> None:
        """Begin another answer, for which the time before does not count."""
        self._pace.renew(rate)

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(self._seconds / LOOKS, self._look)

    def _look(self) -> None:
        self._count()
        if self._pace.left <= 0:
            self._timer = None
            self.give_up()
        else:
            self._look_later()

    def _count(self) -> None:
        (sent_before, before), self._seen = self._seen, (self._sent(), self._loop.time())
        self._pace.spend(self._seen[1] - before, self._seen[0] - sent_before)


class HeldFlow(FlowControl):
    """Reads more bytes only when all that were read before have been parsed."""

    def __init__(self, transport: asyncio.Transport, parser: Parser) -> None:
        super().__init__(transport)
        self._parser = parser

    def resume_reading(self) -> None:
        if not self._parser.held:
            super().resume_reading()
