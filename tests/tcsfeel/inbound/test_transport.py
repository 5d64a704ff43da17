"""The transport below a connection, where the other side is gone before it closes."""

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from tcsfeel.inbound.transport import LingeringTransport, Patience


class Reset(asyncio.Transport):
    """A transport whose socket the caller has reset, which nothing has noticed yet."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    def abort(self) -> None:
        self.aborted = True


async def test_a_connection_that_the_caller_has_reset_is_closed_without_an_error() -> None:
    below = Reset()
    transport = LingeringTransport(below, linger_seconds=60.0, unread=lambda: True)
    transport.close()
    assert below.aborted
    transport.lost()


class Timer:
    """A call that is due, unless it is cancelled."""

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Hours:
    """A loop, as far as timers are concerned, whose time a test turns on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        self.due.append(Timer(self.now + delay, callback))
        return self.due[-1]

    def turn_to(self, now: float) -> None:
        while self.due and self.due[0].when <= now:  # all calls come after as much time: they are in order
            timer = self.due.pop(0)
            self.now = timer.when
            if timer.call is not None:
                timer.call()
        self.now = now


def watching(hours: Hours, sent: Callable[[], int]) -> tuple[Patience, list[float]]:
    ends: list[float] = []
    loop: Any = hours
    return Patience(60.0, 100.0, loop=loop, sent=sent, give_up=lambda: ends.append(hours.now)), ends


def test_a_caller_who_takes_in_nothing_is_given_up_after_its_time() -> None:
    hours = Hours()
    patience, ends = watching(hours, lambda: 1000)
    patience.start()
    hours.turn_to(200.0)
    assert ends == [60.0]


def test_a_caller_who_takes_in_too_little_is_given_up() -> None:
    hours = Hours()
    patience, ends = watching(hours, lambda: int(hours.now) * 50)  # half of what it has to take in
    patience.start()
    hours.turn_to(400.0)
    assert ends == [120.0]


def test_a_caller_who_takes_in_a_little_again_and_again_is_not_given_up() -> None:
    hours = Hours()
    patience, ends = watching(hours, lambda: int(hours.now) // 30 * 3000)  # in large portions
    patience.start()
    hours.turn_to(4000.0)
    assert ends == []
    patience.stop()
    hours.turn_to(8000.0)
    assert ends == []


def test_a_piece_of_an_answer_does_not_give_the_time_back_that_another_took() -> None:
    hours = Hours()
    patience, ends = watching(hours, lambda: 0)
    for begun in (0.0, 1000.0):
        hours.turn_to(begun)
        patience.start()
        hours.turn_to(begun + 29.0)
        patience.stop()
    hours.turn_to(2000.0)
    patience.start()
    hours.turn_to(3000.0)
    assert ends == [2015.0]  # of its 60 s it had 2 left, and the first look comes after 15


def test_another_answer_begins_with_all_the_time() -> None:
    hours = Hours()
    patience, ends = watching(hours, lambda: 0)
    patience.start()
    hours.turn_to(50.0)
    patience.stop()
    patience.renew(100.0)
    patience.start()
    hours.turn_to(200.0)
    assert ends == [110.0]


@pytest.mark.parametrize(
    ("peer", "own"), [(("::1", 4000, 0, 0), ("::1", 80, 0, 0)), (("1.2.3.4", 4000), ("5.6.7.8", 80))]
)
async def test_addresses_are_those_that_asyncio_knows_already(peer: tuple[Any, ...], own: tuple[Any, ...]) -> None:
    known = {"peername": peer, "sockname": own, "socket": "the kernel would be asked", "sslcontext": "tls"}
    transport = LingeringTransport(Known(known), linger_seconds=0.0, unread=lambda: False)
    assert get_remote_addr(transport) == peer[:2]
    assert get_local_addr(transport) == own[:2]
    assert transport.get_extra_info("sslcontext") == "tls"
    assert transport.get_extra_info("cipher", "none") == "none"


class Known(asyncio.Transport):
    """A transport that knows something about its connection."""

    def __init__(self, known: dict[str, Any]) -> None:
        super().__init__(known)
