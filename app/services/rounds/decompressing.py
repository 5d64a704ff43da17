"""Read updates in HTTP's content coding ``zstd``: one frame (RFC 8878), window at most 8 MiB (RFC 9659)."""

import sys
from collections.abc import Iterator

from tcsfeel.wire.errors import MalformedBody

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 1 << 20  # bytes

_WINDOW_LOG = 23


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
