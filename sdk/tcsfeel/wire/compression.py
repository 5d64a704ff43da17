"""Write bodies in HTTP's content coding ``zstd``: one frame (RFC 8878)."""

import re
import sys
from collections.abc import Iterator
from typing import Literal

try:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError:  # the extra ``tcsfeel[zstd]``, or a Python that was built without it
    INSTALLED = False
else:
    INSTALLED = True

Compression = Literal["none", "zstd"]
ZSTD = "zstd"
IDENTITY = "identity"

_ACCEPTED = re.compile(r"zstd(\s*;\s*q=(?!0(\.0*)?$)[0-9.]+)?")


def accepts_zstd(accept_encoding: str) -> bool:
    """Tell whether a request with this header may be answered in zstd. Without zstd installed, it never may."""
    return INSTALLED and any(_ACCEPTED.fullmatch(coding.strip()) for coding in accept_encoding.lower().split(","))


def compressed(pieces: Iterator[bytes | memoryview]) -> Iterator[bytes]:
    """Compress all `pieces` into one frame. The output for a piece may be empty."""
    compressor = zstd.ZstdCompressor()
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def largest(size: int, coding: str) -> int:
    """Return the most bytes that `size` bytes take in a coding: zstd makes random data slightly longer."""
    return size + size // 256 if coding == ZSTD else size
