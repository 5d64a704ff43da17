"""zstd bodies of updates: what comes back, and what is cut off before it does harm."""

import contextlib
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.rounds.decompressing import PIECE, decompressed
from tcsfeel.wire.compression import compressed
from tcsfeel.wire.errors import MalformedBody

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CONTENT = bytes(range(256)) * 8192  # two pieces
FRAME = zstd.compress(CONTENT)


def content(body: bytes, limit: int = len(CONTENT)) -> bytes:
    return b"".join(decompressed(memoryview(body), limit))


def test_a_body_comes_back_as_it_went() -> None:
    pieces: Iterator[bytes | memoryview] = iter([CONTENT[:5], memoryview(CONTENT)[5:]])
    body = b"".join(compressed(pieces))
    assert len(body) < len(CONTENT) / 10
    assert content(body) == content(FRAME) == CONTENT
    assert content(zstd.compress(b"")) == b""


@pytest.mark.parametrize("cut", [0, 1, 4, len(FRAME) // 2, len(FRAME) - 1])
def test_a_body_that_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(MalformedBody, match="its zstd body is cut short"):
        content(FRAME[:cut])


@pytest.mark.parametrize("behind", [b"x", FRAME, b"\x00" * (3 * PIECE)])
def test_a_body_that_goes_on_is_refused(behind: bytes) -> None:
    with pytest.raises(MalformedBody, match="its zstd body has bytes after its frame"):
        content(FRAME + behind, 10 * len(CONTENT))


@pytest.mark.parametrize(
    "body",
    [
        b"no frame at all",
        FRAME[:8] + b"\xff" * 100,
        zstd.compress(CONTENT, options={zstd.CompressionParameter.checksum_flag: 1})[:-4] + b"sum!",
    ],
    ids=["text", "damaged", "checksum"],
)
def test_a_broken_body_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody, match="its zstd body is broken: "):
        content(body)


@given(st.integers(0, len(FRAME) - 1), st.integers(1, 255))
def test_a_flipped_byte_ends_in_content_or_an_error(place: int, flip: int) -> None:
    body = bytearray(FRAME)
    body[place] ^= flip
    with contextlib.suppress(MalformedBody):
        content(bytes(body))


def test_a_bomb_is_cut_at_the_limit() -> None:
    bomb = zstd.compress(bytes(100 * PIECE))
    assert len(bomb) < 20_000
    came = bytearray()
    with pytest.raises(MalformedBody, match="its zstd body holds more than 5000000 bytes"):
        came.extend(byte for piece in decompressed(memoryview(bomb), 5_000_000) for byte in piece)
    assert len(came) <= 5_000_000


def test_the_limit_itself_is_allowed() -> None:
    assert content(FRAME, len(CONTENT)) == CONTENT
    with pytest.raises(MalformedBody, match="more than"):
        content(FRAME, len(CONTENT) - 1)


def test_a_window_of_more_than_8_mib_is_refused() -> None:
    wide: dict[int, int] = {zstd.CompressionParameter.window_log: 24, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=wide)
    body = compressor.compress(CONTENT) + compressor.flush()
    with pytest.raises(MalformedBody, match="its zstd body is broken: "):
        content(body)
