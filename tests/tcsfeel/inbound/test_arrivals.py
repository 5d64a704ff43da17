"""Who has a place, and who loses it."""

import asyncio
import resource
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tcsfeel.inbound import Bounds, Crowded, is_known, welcome
from tcsfeel.inbound.arrivals import Arrivals
from tests.tcsfeel.inbound.sockets import calling, echo, served, until

KNOWN = b"POST /known HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
ANYWHERE = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


class Guest:
    """A connection that only has a place."""

    def __init__(self, address: str, *, idle: bool = False) -> None:
        self.address = address
        self.idle = idle
        self.evicted = False

    def evict(self) -> None:
        self.evicted = True


def test_a_stranger_takes_the_oldest_place_of_the_address_that_has_the_most() -> None:
    arrivals = Arrivals(Bounds(places=16))  # 4 of them for strangers
    first, *others = [Guest("10.0.0.1"), Guest("10.0.0.2"), Guest("10.0.0.2"), Guest("10.0.0.2")]
    for guest in (first, *others):
        arrivals.arrive(guest)
    arrivals.arrive(Guest("10.0.0.3"))
    assert [guest.evicted for guest in (first, *others)] == [False, True, False, False]
    assert arrivals.evictions == 1


def test_a_caller_with_a_key_keeps_its_place_whoever_comes() -> None:
    arrivals = Arrivals(Bounds(places=16))
    known = Guest("10.0.0.1")
    arrivals.arrive(known)
    arrivals.welcome(known)
    for _ in range(100):
        arrivals.arrive(Guest("10.0.0.1"))
    assert not known.evicted
    assert arrivals.evictions == 96


def test_a_caller_with_a_key_takes_the_place_of_one_that_rests_and_of_no_other() -> None:
    arrivals = Arrivals(Bounds(places=8))  # 6 of them for callers with a key
    busy, resting = [Guest("10.0.0.1") for _ in range(5)], Guest("10.0.0.1", idle=True)
    for guest in (*busy, resting):
        arrivals.arrive(guest)
        arrivals.welcome(guest)
    newcomer, late = Guest("10.0.0.2"), Guest("10.0.0.2")
    arrivals.arrive(newcomer)
    arrivals.welcome(newcomer)
    assert resting.evicted
    arrivals.arrive(late)
    with pytest.raises(Crowded, match="all 8 connections are busy"):
        arrivals.welcome(late)
    assert [guest.evicted for guest in (*busy, newcomer, late)] == [False] * 7


def test_devices_leave_places_to_other_callers() -> None:
    """7 500 devices that waited for their tasks took every place, and operators were answered 503."""
    arrivals = Arrivals(Bounds(places=64))  # 48 of them for callers with a key, 3 of which devices leave free
    devices = [Guest("10.0.0.1") for _ in range(46)]
    for guest in devices:
        arrivals.arrive(guest)
    for guest in devices[:45]:
        arrivals.welcome(guest, device=True)
    with pytest.raises(Crowded):
        arrivals.welcome(devices[45], device=True)
    for _ in range(3):
        arrivals.welcome(Guest("10.0.0.2"))
    with pytest.raises(Crowded):
        arrivals.welcome(Guest("10.0.0.2"))
    devices[0].idle = True
    arrivals.leave(devices[1])
    arrivals.welcome(devices[45], device=True)
    assert devices[0].evicted, "no place was free for a device, though one was free"


def test_strangers_lose_their_places_at_once_where_descriptors_are_short() -> None:
    arrivals = Arrivals(Bounds(places=64))
    strangers = [Guest("10.0.0.1") for _ in range(6)]
    for guest in strangers:
        arrivals.arrive(guest)
    assert arrivals.make_room()
    assert [guest.evicted for guest in strangers] == [True] * 4 + [False] * 2  # the oldest
    assert arrivals.make_room()
    assert all(guest.evicted for guest in strangers)


def test_without_strangers_a_caller_that_rests_makes_room_and_a_busy_one_does_not() -> None:
    arrivals = Arrivals(Bounds(places=64))
    busy, resting = Guest("10.0.0.1"), Guest("10.0.0.1", idle=True)
    for guest in (busy, resting):
        arrivals.arrive(guest)
        arrivals.welcome(guest)
    assert [arrivals.make_room(), arrivals.make_room()] == [True, False]
    assert (busy.evicted, resting.evicted) == (False, True)


def test_places_follow_the_limit_of_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    arrivals = Arrivals(Bounds(places=1024))
    guests = [Guest("10.0.0.1") for _ in range(100)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # 128 places, 32 of them for strangers
        for guest in guests:
            arrivals.arrive(guest)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sum(not guest.evicted for guest in guests) == 32


def test_a_place_that_was_left_is_free() -> None:
    arrivals = Arrivals(Bounds(places=4))
    for _ in range(10):
        guest = Guest("10.0.0.1")
        arrivals.arrive(guest)
        arrivals.leave(guest)
    assert arrivals.evictions == 0


def test_another_servers_requests_need_no_place() -> None:
    welcome({"type": "http"})
    assert is_known({"type": "http"})


async def test_a_request_says_whether_a_key_was_shown_over_its_connection_before() -> None:
    seen = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        seen.append(is_known(scope))
        await echo(scope, receive, send)

    async with served(note) as server, calling(server.port) as caller:
        for request in (ANYWHERE, KNOWN, ANYWHERE):
            await caller.send(request)
            assert (await caller.answer())[0] == 200
            await caller.reader.readexactly(1)
    assert seen == [False, False, True]


async def test_idle_strangers_keep_nobody_out() -> None:
    async with served(echo, places=64) as server, AsyncExitStack() as stack:
        (known,) = [await stack.enter_async_context(calling(server.port))]
        await known.send(KNOWN)
        assert (await known.answer())[0] == 200
        await known.reader.readexactly(1)
        strangers = [await stack.enter_async_context(calling(server.port, address="127.0.0.2")) for _ in range(200)]
        for address in ("127.0.0.1", "127.0.0.2"):
            newcomer = await stack.enter_async_context(calling(server.port, address=address))
            await newcomer.send(ANYWHERE)
            assert (await newcomer.answer())[0] == 200
        await until(lambda: len(server.arrivals.connections) == 17)
        await known.send(KNOWN)
        assert (await known.answer())[0] == 200
        assert await asyncio.wait_for(strangers[0].rest(), 30) == b""
