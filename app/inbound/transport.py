"""The transport below a connection, which closes so that the last answer arrives."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl


class LingeringTransport(asyncio.Transport):
    """Closes without reading on.

    A socket that is closed while it holds bytes that nobody has read resets the connection, and the caller may lose the
    answer that it had not read yet. So where `unread` says that more may come, only our half is closed first, and the
    rest after `linger_seconds`. An answer that is not taken in by then is given up.
    """

    def __init__(self, transport: asyncio.Transport, *, linger_seconds: float, unread: Callable[[], bool]) -> None:
        super().__init__()
        self._transport = transport
        self._linger_seconds = linger_seconds
        self._unread = unread
        self._end: asyncio.TimerHandle | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._end is not None or self._transport.is_closing()

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._end is None:
            self._transport.resume_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        if self.is_closing():
            return
        self._end = asyncio.get_running_loop().call_later(self._linger_seconds, self._transport.abort)
        if self._unread():
            self._transport.pause_reading()
            try:
                if self._transport.can_write_eof():
                    self._transport.write_eof()
            except OSError:  # the caller has reset the connection just now
                self._transport.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def lost(self) -> None:
        """Take note that there is no connection any more."""
        if self._end is not None:
            self._end.cancel()


class HeldFlow(FlowControl):
    """Reads on only where all that was read before has been parsed."""

    def __init__(self, transport: asyncio.Transport, held: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._held = held

    def resume_reading(self) -> None:
        if not self._held():
            super().resume_reading()
