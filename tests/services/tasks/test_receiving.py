"""Bodies of responses: when their blocks come, and what becomes of the buffers."""

import asyncio

import pytest

from app.services.tasks.blocks import Blocks
from app.services.tasks.breaks import Broken
from app.services.tasks.heads import read_head
from app.services.tasks.patience import Patience
from app.services.tasks.receiving import Body
from app.services.tasks.wires import Wire

LONG = 1 << 20


def body_of(head: bytes, came: bytes = b"", blocks: Blocks | None = None) -> tuple[Wire, Body]:
    """A body of which some bytes came with its head."""
    wire = Wire()
    brings(wire, came)
    return wire, Body(wire, read_head(head), Patience(60.0, 1e9), blocks or Blocks())


def brings(wire: Wire, data: bytes) -> None:
    buffer = wire.get_buffer(-1)
    buffer[: len(data)] = data
    wire.buffer_updated(len(data))


async def test_the_body_of_an_error_comes_as_soon_as_anything_has_come() -> None:
    wire, body = body_of(b"HTTP/1.1 503 No\r\nContent-Length: 9", b"so")
    assert bytes(await anext(body)) == b"so"
    brings(wire, b"rry")
    assert bytes(await anext(body)) == b"rry"
    wire.eof_received()
    with pytest.raises(Broken, match="in the middle of its answer"):
        await anext(body)


async def test_the_body_of_a_result_comes_when_it_is_whole() -> None:
    wire, body = body_of(b"HTTP/1.1 200 OK\r\nContent-Length: 5", b"he")
    coming = asyncio.create_task(body.__anext__())
    for piece in (b"l", b"l"):
        await asyncio.sleep(0)
        brings(wire, piece)
    await asyncio.sleep(0)
    assert not coming.done()
    brings(wire, b"o")
    assert bytes(await coming) == b"hello"
    with pytest.raises(StopAsyncIteration):
        await anext(body)


@pytest.mark.parametrize("status", [b"200 OK", b"206 Partial Content"])
async def test_what_has_come_of_a_result_that_breaks_off_counts_and_comes_in_full_blocks(status: bytes) -> None:
    wire, body = body_of(b"HTTP/1.1 %s\r\nContent-Length: %d" % (status, LONG), b"x")
    coming = asyncio.create_task(body.__anext__())
    for _ in range(3):
        await asyncio.sleep(0)
        brings(wire, bytes(100_000))
    await asyncio.sleep(0)
    assert not coming.done()
    wire.eof_received()
    assert len(await coming) == 300_001
    with pytest.raises(Broken, match="in the middle of its answer"):
        await anext(body)


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    wire, body = body_of(b"HTTP/1.1 200 OK", b"hello")
    wire.eof_received()
    assert [bytes(block) async for block in body] == [b"hello"]


@pytest.mark.parametrize(
    ("came", "whole"), [(b"5\r\nhello\r\n0\r\n\r\n", True), (b"5\r\nhello\r\n", False), (b"x\r\n", False)]
)
async def test_a_body_that_nothing_reads_is_skipped_as_far_as_it_has_come(came: bytes, whole: bool) -> None:
    _, body = body_of(b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked", came)
    assert body.skip() == whole


async def test_a_long_body_borrows_a_buffer_and_gives_it_back() -> None:
    blocks = Blocks()
    wire, body = body_of(b"HTTP/1.1 200 OK\r\nContent-Length: %d" % LONG, b"x", blocks)
    brings(wire, b"")
    coming = asyncio.create_task(body.__anext__())
    await asyncio.sleep(0)
    brings(wire, b"y" * (LONG - 1))
    block = await coming
    assert (len(block), bytes(block[:2])) == (LONG, b"xy")
    buffer = block.obj
    assert body.skip()
    body.release()
    assert blocks.take().obj is buffer
    assert wire.is_quiet
