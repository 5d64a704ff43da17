"""Remember how the last models are laid out, since reading the header of 10 000 tensors takes more than 0.1 s.

All models of a training have the same header, and a round reads several of them.
"""

import hashlib
from threading import Lock

from tcsfeel.wire.codec import Packed, unpack
from tcsfeel.wire.headers import LENGTH, Layout

_KEPT = 32  # layouts; one of 10 000 tensors takes some 3 MB


class Layouts:
    """The layouts of models that were read lately. Threads may share it."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], Layout] = {}
        self._lock = Lock()

    def read(self, file: memoryview) -> Packed:
        """Return the tensors of a complete file. Raises `WireError`.

        If a file of the same length with the same header was read before, nothing of it has to be checked again.
        """
        end = LENGTH.size + (LENGTH.unpack_from(file)[0] if len(file) >= LENGTH.size else 0)
        key = hashlib.sha256(file[:end]).digest(), len(file)
        with self._lock:
            if (layout := self._known.pop(key, None)) is not None:
                self._known[key] = layout  # as the one that was used last
                return Packed(layout, file[end:])
        packed, _ = unpack(file)
        with self._lock:
            self._known[key] = packed.layout
            if len(self._known) > _KEPT:
                del self._known[next(iter(self._known))]
        return packed
