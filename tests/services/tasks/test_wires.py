"""The bytes of a connection, and one exchange after the other over them, without a socket.

Covers: app.services.tasks.exchanges, app.services.tasks.receiving
"""

import asyncio

import pytest

from app.services.tasks.blocks import Blocks
from app.services.tasks.exchanges import Exchange
from app.services.tasks.patience import Patience, TooSlow
from app.services.tasks.wires import Wire
from tests.services.wiring import GET, KIB_64, Socket, connected, patience

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


def is_quiet(wire: Wire) -> bool:
    return wire.is_quiet


def is_usable(exchange: Exchange) -> bool:
    return exchange.is_usable


def reads(socket: Socket) -> bool:
    return socket.reading


async def test_a_wire_wakes_its_caller_when_enough_has_come_or_nothing_more_will() -> None:
    wire, socket = connected()
    assert is_quiet(wire)
    waiting = asyncio.create_task(wire.receive(5, patience()))
    await asyncio.sleep(0)
    assert socket.brings(b"hell") == 4
    await asyncio.sleep(0)
    assert not waiting.done()
    assert socket.brings(b"o!") == 2
    await asyncio.wait_for(waiting, 20)
    assert bytes(wire.target[: wire.filled]) == b"hello!"
    assert not is_quiet(wire)
    wire.let_go()
    assert is_quiet(wire)
    wire.eof_received()
    await asyncio.wait_for(wire.receive(1, patience()), 20)
    assert not is_quiet(wire)


async def test_an_agent_that_sends_more_than_is_asked_for_is_not_read_until_there_is_room() -> None:
    wire, socket = connected()
    own = len(wire.target)
    assert socket.brings(b"x" * KIB_64) == own
    assert not reads(socket)
    wire.receive_into(memoryview(bytearray(own)), own)
    assert not reads(socket), "the other buffer is full, too"
    wire.receive_into(memoryview(bytearray(own + 1)), own)
    assert reads(socket)
    assert socket.brings(b"xx") == 1
    assert not reads(socket)
    wire.let_go()
    assert reads(socket)


async def test_a_caller_that_writes_waits_until_there_is_room_for_more() -> None:
    wire, socket = connected()
    wire.write(b"piece")
    await wire.room(patience())
    wire.pause_writing()
    waiting = asyncio.create_task(wire.room(patience()))
    await asyncio.sleep(0)
    assert (socket.written, waiting.done()) == ([b"piece"], False)
    wire.resume_writing()
    await asyncio.wait_for(waiting, 20)
    wire.pause_writing()
    waiting = asyncio.create_task(wire.room(patience()))
    await asyncio.sleep(0)
    socket.brings(b"a")
    await asyncio.wait_for(waiting, 20)
    assert wire.full


async def test_an_agent_that_takes_nothing_is_not_waited_for_and_a_lost_one_gets_nothing() -> None:
    wire, socket = connected()
    wire.pause_writing()
    socket.held = 5
    with pytest.raises(TooSlow, match="the agent did not read the request in time"):
        await wire.room(patience(0.01))
    wire.connection_lost(None)
    with pytest.raises(ConnectionResetError):
        wire.write(b"more")
    assert socket.written == []
    wire.close()
    assert not socket.open


async def test_an_agent_that_takes_some_in_time_is_waited_for() -> None:
    wire, socket = connected()
    wire.pause_writing()
    socket.held = 5
    slow = Patience(0.01, 1.0)
    waiting = asyncio.create_task(wire.room(slow))
    await asyncio.sleep(0)
    socket.held = 4
    await asyncio.wait_for(waiting, 20)
    assert not slow.is_over


async def asked(exchange: Exchange, socket: Socket, answer: bytes) -> bytes:
    """The body of an answer to a GET, or the status as text if nothing reads the body."""
    asking = asyncio.create_task(exchange.ask(GET, patience(), patience()))
    await asyncio.sleep(0)
    socket.brings(answer)
    head = await asyncio.wait_for(asking, 20)
    body = exchange.body(head, patience(), Blocks())
    if head.status != 200:
        return str(head.status).encode()
    return b"".join([bytes(block) async for block in body])


async def test_a_connection_is_used_again_after_a_whole_answer() -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    assert await asked(exchange, socket, OK + b"hello") == b"hello"
    assert exchange.finish()
    assert (exchange.used, is_usable(exchange), socket.open) == (True, True, True)
    assert await asked(exchange, socket, OK + b"again") == b"again"
    assert exchange.finish()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
async def test_a_body_that_nothing_reads_is_dropped_if_it_has_come(answer: bytes) -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    await asked(exchange, socket, answer)
    assert exchange.finish()
    assert is_usable(exchange)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"hello!",
        b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello!",
        b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 404 No\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\nx",
        b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 404 No\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_connection_is_closed_if_the_answer_is_not_all_that_comes(answer: bytes) -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    await asked(exchange, socket, answer)
    assert not exchange.finish()
    assert not socket.open


async def test_an_agent_that_hangs_up_after_its_answer_is_not_asked_again() -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    assert await asked(exchange, socket, OK + b"hello") == b"hello"
    wire.eof_received()
    assert not exchange.finish()
    assert not socket.open


async def test_an_exchange_that_was_called_off_has_closed_its_connection() -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    wire.pause_writing()
    asking = asyncio.create_task(exchange.ask(GET, patience(), patience()))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    exchange.close()
    assert not socket.open


async def test_a_connection_on_which_something_came_unasked_is_not_used() -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    socket.brings(b"HTTP/1.1 200 OK\r\n")
    assert not exchange.is_usable
