"""Read and write bodies in HTTP's content coding ``zstd``: one frame (RFC 8878), window at most 8 MiB (RFC 9659)."""

import re
import sys
from collections.abc import Iterator
from typing import Literal

from tcsfeel.wire.errors import MalformedBody

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
PIECE = 1 << 20  # bytes

_WINDOW_LOG = 23
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


def decompressed(body: memoryview, limit: int) -> Iterator[bytes]:
    """Yield the content of a body in pieces, with at most `PIECE` bytes of it in memory.

    Raises:
        MalformedBody: the body is not a frame, is cut short, has bytes after its frame, or holds more than `limit`
            bytes.
    """
    window = {int(zstd.DecompressionParameter.window_log_max): _WINDOW_LOG}
    decompressor = zstd.ZstdDecompressor(options=window)
    position = size = 0
    while not decompressor.eof:
        piece = body[position : position + PIECE] if decompressor.needs_input else b""
        position += len(piece)
        if decompressor.needs_input and not piece:
            raise MalformedBody("its zstd body is cut short")
        try:
            content = decompressor.decompress(piece, PIECE)
        except zstd.ZstdError as error:
            raise MalformedBody(f"its zstd body is broken: {error}") from error
        size += len(content)
        if size > limit:
            raise MalformedBody(f"its zstd body holds more than {limit} bytes")
        yield content
    if decompressor.unused_data or position < len(body):
        raise MalformedBody("its zstd body has bytes after its frame")
