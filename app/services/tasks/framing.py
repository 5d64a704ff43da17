"""Find the end of a response's body, and take the marks of chunks out of it.

A body is decoded where it was received: `decode` gets a buffer with bytes that are decoded up to `at` and raw bytes
from there to `end`. It returns both borders as they are afterwards. Raw bytes that remain come directly after the
decoded ones.
"""

import re
from typing import Protocol

from app.services.tasks.heads import MOST_HEADERS, Head, NotHttp, read_fields
from tcsfeel.errors import Picklable

CRUMBS = 500  # chunks; as many are decoded at a time
LEAST_PIECE = 16  # bytes that chunks have on average after the first `CRUMBS`, because each costs the same work
_LINE_BYTES = 1 << 8  # of the line before a chunk
_TRAILER_BYTES = 1 << 12  # of the line of a trailer

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?[ \t]*")


class Crumbs(Picklable):
    """A body comes in chunks that are too small."""

    def __init__(self) -> None:
        super().__init__(f"the agent sent its body in pieces of less than {LEAST_PIECE} bytes")


class Framing(Protocol):
    """How a body ends. `is_over` says that nothing more belongs to it, `ends_with_connection` that it has no mark."""

    is_over: bool
    ends_with_connection: bool

    def decode(self, buffer: memoryview, at: int, end: int) -> tuple[int, int]:
        """Decode raw bytes in place. Raises `NotHttp`, `Crumbs`."""

    def wanted(self, room: int) -> int:
        """Return how many more raw bytes to wait for, if the buffer has `room` for as many; 0 to decode on at once."""


class Sized:
    """A body whose length is known, and of which `left` bytes have not been decoded."""

    ends_with_connection = False

    def __init__(self, length: int) -> None:
        self.left = length
        self.is_over = length == 0

    def decode(self, buffer: memoryview, at: int, end: int) -> tuple[int, int]:
        del buffer
        size = min(end - at, self.left)
        self.left -= size
        self.is_over = self.left == 0
        return at + size, end

    def wanted(self, room: int) -> int:
        return min(room, self.left)


class Endless:
    """A body that ends with the connection."""

    is_over = False
    ends_with_connection = True

    def decode(self, buffer: memoryview, at: int, end: int) -> tuple[int, int]:
        del buffer, at
        return end, end

    def wanted(self, room: int) -> int:
        return room


class Chunked:
    """A body in chunks."""

    ends_with_connection = False

    def __init__(self) -> None:
        self.is_over = False
        self._chunk = 0  # bytes that the present chunk still has
        self._in_chunk = False  # until the line break after it
        self._trailers: list[bytes] | None = None  # from the last chunk on
        self._chunks = self._size = 0
        self._rests = False  # because it has decoded many chunks

    def decode(self, buffer: memoryview, at: int, end: int) -> tuple[int, int]:
        raw, most = at, self._chunks + CRUMBS
        while raw < end and not self.is_over and self._chunks < most:
            if self._chunk:
                size = min(self._chunk, end - raw)
                buffer[at : at + size] = buffer[raw : raw + size]
                at, raw, self._chunk = at + size, raw + size, self._chunk - size
                self._size += size
                continue
            line = _line(buffer, raw, end, _LINE_BYTES if self._trailers is None else _TRAILER_BYTES)
            if line is None:
                break
            raw += len(line) + len(b"\r\n")
            self._take(line)
        self._rests = self._chunks == most
        buffer[at : at + end - raw] = buffer[raw:end]
        return at, at + end - raw

    def wanted(self, room: int) -> int:
        return 0 if self._rests else min(room, 1)

    def _take(self, line: bytes) -> None:
        """Read a line between chunks."""
        if self._trailers is not None:
            if line:
                self._trailers.append(line)
            if not line or len(self._trailers) > MOST_HEADERS:
                read_fields(self._trailers)
                self.is_over = True
        elif self._in_chunk:
            if line:
                raise NotHttp("a chunk is longer than it says")
            self._in_chunk = False
        else:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise NotHttp("a chunk has no size")
            self._chunk = int(match[1], 16)
            self._in_chunk = True
            self._chunks += 1
            if self._chunks > CRUMBS and self._size < (self._chunks - 1) * LEAST_PIECE:  # of those before
                raise Crumbs
            if not self._chunk:
                self._trailers = []


def framing_of(head: Head) -> Framing:
    """Return how the body of a response ends."""
    if head.chunked:
        return Chunked()
    return Endless() if head.length is None else Sized(head.length)


def _line(buffer: memoryview, start: int, end: int, most: int) -> bytes | None:
    """Return the line that begins at `start`; None if its end has not come. Raises `NotHttp` if it is too long."""
    text = bytes(buffer[start : min(end, start + most)])
    line, found, _ = text.partition(b"\r\n")
    if found:
        return line
    if len(text) == most:
        raise NotHttp("a line between chunks is too long")
    return None
