"""Receive the body of a response, in blocks that are as large as possible."""

from typing import Self

from app.services.tasks.blocks import Blocks
from app.services.tasks.breaks import CUT, NOT_HTTP, Broken
from app.services.tasks.framing import Crumbs, Sized, framing_of
from app.services.tasks.heads import Head, NotHttp
from app.services.tasks.patience import Patience
from app.services.tasks.wires import Wire

_STORED = frozenset({200, 206})  # the statuses of bodies that are stored
_SMALL = 1 << 16  # bytes: a body that is not longer gets a buffer of its own
_SHOWN = 1 << 13  # bytes of an error's body at a time
_PAGE = 1 << 12  # bytes: some processors copy more slowly to a place that is not at the border of a page


class Body:
    """The body of a response, whose first bytes may be in the wire's own buffer.

    The blocks of a 200 or 206 are full, because they are stored, unless the body breaks off. Those of another response
    come as soon as anything has come.
    """

    def __init__(self, wire: Wire, head: Head, patience: Patience, blocks: Blocks) -> None:
        self._wire = wire
        self._head = head
        self._is_stored = head.status in _STORED
        self._patience = patience
        self._blocks = blocks
        self._framing = framing_of(head)
        self._borrowed: memoryview | None = None
        self._buffer: memoryview | None = None
        self._given = 0  # bytes at the beginning of the wire's target that the caller has got

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        """Return the next block, which is valid until the one after it is asked for. Raises `Broken`, `TooSlow`."""
        if self._framing.is_over:
            raise StopAsyncIteration
        self._make_room()
        wire, framing = self._wire, self._framing
        size = self._decode(0)
        while not framing.is_over and wire.filled < len(wire.target) and (self._is_stored or not size):
            wanted = framing.wanted(len(wire.target) - wire.filled)
            if not wanted:
                break
            if wire.ended:
                framing.is_over = framing.ends_with_connection
                if not framing.is_over and not size:
                    raise Broken(CUT)
                break
            await wire.receive(wire.filled + wanted, self._patience, earning=True)
            size = self._decode(size)
        if not size:
            raise StopAsyncIteration
        self._given = size
        return wire.target[:size]

    def skip(self) -> bool:
        """Take what has come of a body that nothing reads. Tell whether that is all of it, and nothing follows it."""
        try:
            self._given = self._decode(self._given)
        except Broken:
            return False
        return self._framing.is_over and self._given == self._wire.filled

    def release(self) -> None:
        """Give the buffer back. The caller uses no block any more."""
        self._wire.let_go()
        if self._borrowed is not None:
            self._blocks.give_back(self._borrowed)
            self._borrowed = None

    def _decode(self, size: int) -> int:
        """Decode what has come after the first `size` bytes. Returns how many bytes are decoded then."""
        wire = self._wire
        try:
            size, filled = self._framing.decode(wire.target, size, wire.filled)
        except NotHttp as error:
            raise Broken(NOT_HTTP) from error
        except Crumbs as error:
            raise Broken(str(error)) from error
        if filled < wire.filled:  # there is room again
            wire.receive_into(wire.target, filled)
        return size

    def _make_room(self) -> None:
        """Move the bytes that have not been given to the beginning of the buffer, and receive behind them."""
        wire = self._wire
        rest = wire.target[self._given : wire.filled]
        buffer = self._buffer or self._choose(len(rest))
        if isinstance(self._framing, Sized):  # with room for one byte that should not come
            buffer = buffer[: max(len(rest), self._framing.left + 1)]
        buffer[: len(rest)] = rest
        self._given = 0
        wire.receive_into(buffer, len(rest))

    def _choose(self, held: int) -> memoryview:
        """Choose a buffer for a body of which `held` bytes have come."""
        length = self._head.length
        if not self._is_stored:
            self._buffer = memoryview(bytearray(max(held, _SHOWN)))
        elif length is not None and length <= _SMALL:
            self._buffer = memoryview(bytearray(max(held, length + 1)))
        else:
            self._borrowed = self._blocks.take()
            self._buffer = self._borrowed[-held % _PAGE :]
        return self._buffer
