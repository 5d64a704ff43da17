"""The bytes of a connection, and one exchange after the other over them, without a socket.

Covers: app.services.tasks.exchanges
"""

import asyncio

import httpx2
import pytest

from app.services.tasks.exchanges import Exchange, Wire
from app.services.tasks.patience import Patience, TooSlow

KIB_64 = 1 << 16
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


class Socket(asyncio.Transport):
    """A connection whose other end is the test; `held` is what the system has not taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.reading = True
        self.open = True
        self.held = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Its buffer is as large as the test says."""

    def get_write_buffer_size(self) -> int:
        return self.held

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.open = False


def connected() -> tuple[Wire, Socket]:
    wire, socket = Wire(), Socket()
    wire.connection_made(socket)
    return wire, socket


def is_quiet(wire: Wire) -> bool:
    return wire.is_quiet


def is_usable(exchange: Exchange) -> bool:
    return exchange.is_usable


def reads(socket: Socket) -> bool:
    return socket.reading


def patience(seconds: float = 60.0) -> Patience:
    return Patience(seconds, 1e9)


async def test_a_wire_is_quiet_until_something_comes_and_gives_no_more_than_it_is_asked_for() -> None:
    wire, _ = connected()
    assert is_quiet(wire)
    assert wire.take(10) == b""
    waiting = asyncio.create_task(wire.news())
    await asyncio.sleep(0)
    assert not waiting.done()
    wire.data_received(b"hello")
    await asyncio.wait_for(waiting, 20)
    assert not is_quiet(wire)
    assert [wire.take(2), wire.take(10), wire.take(10)] == [b"he", b"llo", b""]
    assert is_quiet(wire)
    wire.eof_received()
    await asyncio.wait_for(wire.news(), 20)
    assert not is_quiet(wire)


async def test_an_agent_that_sends_more_than_is_asked_for_is_not_read_until_half_is_taken() -> None:
    wire, socket = connected()
    for _ in range(4):
        wire.data_received(b"x" * KIB_64)
    assert reads(socket)
    wire.data_received(b"x")
    assert not reads(socket)
    wire.take(KIB_64)
    assert not reads(socket)
    wire.take(KIB_64)
    assert not reads(socket), "131073 bytes are held, one more than half"
    wire.take(1)
    assert reads(socket)


async def test_a_piece_is_sent_once_there_is_room_for_more() -> None:
    wire, socket = connected()
    wire.pause_writing()
    sending = asyncio.create_task(wire.send(b"piece", patience()))
    await asyncio.sleep(0)
    assert (socket.written, sending.done()) == ([b"piece"], False)
    wire.resume_writing()
    await asyncio.wait_for(sending, 20)


async def test_an_agent_that_takes_nothing_is_not_waited_for_and_a_lost_one_gets_nothing() -> None:
    wire, socket = connected()
    wire.pause_writing()
    socket.held = 5
    with pytest.raises(TooSlow, match="the agent did not read the request in time"):
        await wire.send(b"piece", patience(0.01))
    wire.connection_lost(None)
    with pytest.raises(ConnectionResetError):
        await wire.send(b"more", patience())
    assert socket.written == [b"piece"]
    wire.close()
    assert not socket.open


async def asked(exchange: Exchange, wire: Wire, answer: bytes) -> int:
    """The status of an answer to a GET."""
    asking = asyncio.create_task(exchange.ask(httpx2.Request("GET", "http://agent/x"), patience(), patience()))
    await asyncio.sleep(0)
    wire.data_received(answer)
    return (await asyncio.wait_for(asking, 20)).status_code


async def test_a_connection_is_used_for_one_exchange_after_the_other() -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    for _ in range(2):
        assert is_usable(exchange)
        assert await asked(exchange, wire, OK + b"hello") == 200
        assert not is_usable(exchange)
        assert b"".join([piece async for piece in exchange.body(patience())]) == b"hello"
        assert await exchange.finish()
        assert (exchange.used, socket.open) == (True, True)
    assert [piece.partition(b"\r\n")[0] for piece in socket.written] == [b"GET /x HTTP/1.1"] * 2


@pytest.mark.parametrize(
    ("rest", "again"), [(b"hello", True), (b"hell", False), (b"hello, and more than was said", False)]
)
async def test_a_connection_is_kept_where_all_of_an_unread_body_has_come_and_nothing_more(
    rest: bytes, again: bool
) -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    await asked(exchange, wire, OK + rest)
    assert await exchange.finish() == again
    assert (exchange.is_usable, socket.open) == (again, again)


async def test_an_exchange_that_is_abandoned_stops_sending_and_hangs_up() -> None:
    wire, socket = connected()
    exchange = Exchange(wire)
    wire.pause_writing()
    request = httpx2.Request("PUT", "http://agent/x", content=b"model")
    asking = asyncio.create_task(exchange.ask(request, patience(), patience()))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    await exchange.abandon()
    assert (exchange.is_usable, socket.open) == (False, False)


async def test_a_connection_on_which_something_came_unasked_is_not_used() -> None:
    wire, _ = connected()
    exchange = Exchange(wire)
    wire.data_received(b"HTTP/1.1 200 OK\r\n")
    assert not exchange.is_usable
