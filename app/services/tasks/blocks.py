"""Buffers for the bodies of responses, which are used again: the system clears new memory, which takes time."""

import mmap

from app.store.model_store import BLOCK

BLOCK_BYTES = BLOCK + (1 << 16)
"""The length of a buffer: a block of the store, and room for a header before it."""
_KEPT = 32


class Blocks:
    """Gives buffers, each of which begins at the border of a page."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """Return a buffer that is not in use. Its bytes are undefined."""
        return self._free.pop() if self._free else memoryview(mmap.mmap(-1, BLOCK_BYTES))

    def give_back(self, block: memoryview) -> None:
        """Take a buffer back that is not used any more."""
        if len(self._free) < _KEPT:
            self._free.append(block)
