"""A connection without a socket, whose other end is the test."""

import asyncio

from app.services.tasks.patience import Patience
from app.services.tasks.requests import Request
from app.services.tasks.wires import Wire

KIB_64 = 1 << 16
GET = Request("GET", "http://agent", "/x")


class Socket(asyncio.Transport):
    """A connection; `held` is what the system has not taken yet."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.reading = True
        self.open = True
        self.held = 0
        self._wire = wire
        wire.connection_made(self)

    def brings(self, data: bytes) -> int:
        """Let bytes come in. Returns how many of them are read."""
        taken = 0
        while self.reading and taken < len(data):
            buffer = self._wire.get_buffer(-1)
            size = min(len(buffer), len(data) - taken)
            buffer[:size] = data[taken : taken + size]
            taken += size
            self._wire.buffer_updated(size)
        return taken

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Its buffer is as large as the test says."""

    def get_write_buffer_size(self) -> int:
        return self.held

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.open = False


def connected() -> tuple[Wire, Socket]:
    wire = Wire()
    return wire, Socket(wire)


def patience(seconds: float = 60.0) -> Patience:
    return Patience(seconds, 1e9)
