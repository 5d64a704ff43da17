"""First models from agents, which no known size bounds: what is no parameter file is refused by its beginning."""

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from app.store.model_store import ModelStore
from tcsfeel.wire.headers import MAX_HEADER_BYTES
from tests.services.asking import failure, initial_model, spooled
from tests.services.fakes import calling

PIECE = 1 << 16


@pytest.mark.parametrize("first", [8, 3, 1], ids=lambda size: f"{size} bytes first")
async def test_a_header_that_is_too_long_is_refused_before_it_comes(first: int, tmp_path: Path) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        beginning = struct.pack("<Q", MAX_HEADER_BYTES + 1)
        yield beginning[:first]
        yield beginning[first:] + b"{"
        while True:
            sent += PIECE
            yield b" " * PIECE

    async with calling(lambda _: httpx2.Response(200, content=endless()), max_bytes=1 << 40) as agents:
        reason = await failure(initial_model(agents, ModelStore(tmp_path / "spool")))
    assert reason == f"the header claims {MAX_HEADER_BYTES + 1} bytes, at most {MAX_HEADER_BYTES} are read"
    assert sent <= 2 * PIECE
    assert spooled(tmp_path) == []
