"""The memory that bodies and long answers share, and how slowly a body may arrive."""

import asyncio
import re
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi import Request

from app.bodies import SMALL_BYTES, UNCOUNTED_BYTES, AnswerRoom, Held, NoRoom, Room, TooSlow, bounded
from tcsfeel.inbound import Pace

LARGE = 16_000_000
PIECE = 65_536
SHORT = 0.02


def fill(held: Held) -> int:
    """Grow until there is no room; gives how many bytes."""
    size = 0
    try:
        while True:
            held.grow(PIECE)
            size += PIECE
    except NoRoom:
        return size


def test_one_body_may_have_the_whole_room() -> None:
    room = Room(10 * SMALL_BYTES)
    for _ in range(2):  # the first one gives back what it held
        with room.holding("here", 10 * SMALL_BYTES) as held:
            held.grow(UNCOUNTED_BYTES)
            for _ in range(10):
                held.grow(SMALL_BYTES)
            with pytest.raises(
                NoRoom, match="are using too much of the 10000000 bytes of memory for bodies: try again"
            ):
                held.grow(SMALL_BYTES)


def test_large_bodies_from_one_address_leave_room_for_other_addresses() -> None:
    room = Room(256_000_000)
    with ExitStack() as stack:
        for _ in range(100):
            fill(stack.enter_context(room.holding("greedy", LARGE)))
        assert fill(stack.enter_context(room.holding("another", LARGE))) > 0.8 * 32_000_000
        stack.enter_context(room.holding("a third", LARGE)).grow(SMALL_BYTES)


def test_small_bodies_have_a_reserve_that_large_ones_cannot_take() -> None:
    room = Room(256_000_000)
    with ExitStack() as stack:
        for number in range(100):
            fill(stack.enter_context(room.holding(f"address {number}", LARGE)))
        for _ in range(16):
            stack.enter_context(room.holding("address 0", SMALL_BYTES)).grow(SMALL_BYTES)


def test_a_short_body_has_room_whatever_others_hold() -> None:
    room = Room(256_000_000)
    with ExitStack() as stack:
        for most in (SMALL_BYTES, LARGE):
            for number in range(1000):
                fill(stack.enter_context(room.holding(f"address {number % 10}", most)))
        stack.enter_context(room.holding("address 0", SMALL_BYTES)).grow(UNCOUNTED_BYTES)
        with pytest.raises(NoRoom, match="the 32000000 bytes"):
            stack.enter_context(room.holding("address 0", SMALL_BYTES)).grow(UNCOUNTED_BYTES + 1)


def test_every_address_may_have_a_long_answer_and_more_where_there_is_room() -> None:
    answers = AnswerRoom(100)
    with answers.holding("here", 1000):
        with pytest.raises(NoRoom, match="ask for fewer at a time"), answers.holding("here", 1):
            raise AssertionError
        with answers.holding("there", 1000):
            pass
    with answers.holding("here", 50), answers.holding("here", 50):
        pass


def body_of(*messages: Any) -> Any:
    """What a server receives of a request: these messages, and then nothing for ever."""
    left = list(messages)

    async def receive() -> Any:
        if left:
            return left.pop(0)
        return await asyncio.Event().wait()

    return receive


def request_of(*messages: Any, pace: Pace) -> tuple[Request, ExitStack]:
    stack = ExitStack()
    held = stack.enter_context(Room(LARGE).holding("here", LARGE))
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, body_of(*messages))
    return bounded(request, LARGE, held, pace), stack


def piece(size: int, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


@pytest.mark.parametrize("sent", [0, 1_000_000])
async def test_a_body_that_stops_is_refused_however_much_of_it_came(sent: int) -> None:
    request, stack = request_of(piece(sent), pace=Pace(SHORT, 1000.0))
    said = "the body arrives too slowly: it may pause for 0.02 s, and must then send at least 1000 bytes a second"
    with stack, pytest.raises(TooSlow, match=re.escape(said)):
        await request.body()


async def test_a_caller_who_waits_for_its_answer_is_not_slow() -> None:
    request, stack = request_of(piece(3, more=False), pace=Pace(SHORT, 1000.0))
    with stack:
        assert await request.body() == b"xxx"
        leaving = asyncio.ensure_future(request.receive())  # the message that it has hung up
        await asyncio.wait([leaving], timeout=4 * SHORT)
        assert not leaving.done()
        leaving.cancel()
