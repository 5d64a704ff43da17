"""Requests and bodies in pieces, and agents that answer before they have got all of a request.

Covers: app.services.tasks.exchanges
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.services.tasks.blocks import BLOCK_BYTES, Blocks
from app.services.tasks.exchanges import Exchange
from app.services.tasks.requests import Request
from tests.services.wiring import GET, KIB_64, connected, patience


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_a_small_request_is_written_at_once() -> None:
    wire, socket = connected()
    headers = {"Content-Length": "9"}
    sent = Request("PUT", "http://agent:81/base", "/x?y", headers, _pieces(b"head", b"block"))
    asking = asyncio.create_task(Exchange(wire).ask(sent, patience(), patience()))
    await asyncio.sleep(0)
    assert socket.written == [b"PUT /base/x?y HTTP/1.1\r\nHost: agent:81\r\nContent-Length: 9\r\n\r\nheadblock"]
    asking.cancel()
    await asyncio.wait([asking])


async def test_an_agent_that_refuses_a_task_early_is_not_sent_the_rest() -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    body = _pieces(b"h" * KIB_64, b"b" * KIB_64)
    asking = asyncio.create_task(exchange.ask(Request("PUT", "http://agent", "/x", {}, body), patience(), patience()))
    wire.pause_writing()
    await asyncio.sleep(0)
    socket.brings(b"HTTP/1.1 102 Processing\r\n\r\n")
    await asyncio.sleep(0)
    assert not asking.done()
    socket.brings(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
    head = await asyncio.wait_for(asking, 20)
    assert head.status == 401
    assert sum(map(len, socket.written)) < 2 * KIB_64
    exchange.body(head, patience(), Blocks())
    assert not exchange.finish(), "the agent still waits for the rest"


async def test_an_agent_that_accepts_a_task_early_is_sent_the_rest() -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    body = _pieces(b"h" * KIB_64, b"b" * KIB_64)
    asking = asyncio.create_task(exchange.ask(Request("PUT", "http://agent", "/x", {}, body), patience(), patience()))
    wire.pause_writing()
    await asyncio.sleep(0)
    socket.brings(b"HTTP/1.1 202 Yes\r\nContent-Length: 0\r\n\r\n")
    await asyncio.sleep(0)
    assert not asking.done()
    wire.resume_writing()
    head = await asyncio.wait_for(asking, 20)
    assert (head.status, b"".join(socket.written)[-KIB_64:]) == (202, b"b" * KIB_64)
    exchange.body(head, patience(), Blocks())
    assert exchange.finish()


@pytest.mark.parametrize("size", [1, KIB_64, KIB_64 + 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 7])
@pytest.mark.parametrize("piece", [1000, 1 << 20], ids=["small", "large"])
async def test_a_body_comes_in_few_blocks_however_it_was_sent(size: int, piece: int) -> None:
    wire, socket = connected()
    exchange, blocks = Exchange(wire), Blocks()
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + content
    asking = asyncio.create_task(exchange.ask(GET, patience(), patience()))

    async def bring() -> None:
        at = 0
        while at < len(sent):
            at += socket.brings(sent[at : at + piece])
            await asyncio.sleep(0)

    bringing = asyncio.create_task(bring())
    head = await asyncio.wait_for(asking, 20)
    got = [bytes(block) async for block in exchange.body(head, patience(), blocks)]
    await bringing
    assert b"".join(got) == content
    assert len(got) <= size // (1 << 20) + 1
    assert exchange.finish()
