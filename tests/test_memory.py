"""The memory that bodies and long answers share, and the places in which long answers are made."""

import asyncio
from contextlib import ExitStack

import pytest

from app.memory import (
    SMALL_BYTES,
    UNCOUNTED_BYTES,
    AnswerMemory,
    AnswerPlaces,
    BodyMemory,
    Held,
    NoMemoryFree,
    TooManyAnswers,
)

LARGE = 16_000_000
PIECE = 65_536


def fill(held: Held) -> int:
    """Grow until there is no memory free; gives how many bytes."""
    size = 0
    try:
        while True:
            held.grow(PIECE)
            size += PIECE
    except NoMemoryFree:
        return size


def test_one_body_may_have_the_whole_room() -> None:
    memory = BodyMemory(10 * SMALL_BYTES)
    for _ in range(2):  # the first one gives back what it held
        with memory.holding("here", 10 * SMALL_BYTES) as held:
            held.grow(UNCOUNTED_BYTES)
            for _ in range(10):
                held.grow(SMALL_BYTES)
            with pytest.raises(
                NoMemoryFree, match="are using too much of the 10000000 bytes of memory for bodies: try again"
            ):
                held.grow(SMALL_BYTES)


def test_large_bodies_from_one_address_leave_room_for_other_addresses() -> None:
    memory = BodyMemory(256_000_000)
    with ExitStack() as stack:
        for _ in range(100):
            fill(stack.enter_context(memory.holding("greedy", LARGE)))
        assert fill(stack.enter_context(memory.holding("another", LARGE))) > 0.8 * 32_000_000
        stack.enter_context(memory.holding("a third", LARGE)).grow(SMALL_BYTES)


def test_a_body_that_does_not_fit_is_refused_when_it_is_announced_and_holds_nothing() -> None:
    memory = BodyMemory(10 * SMALL_BYTES)
    with memory.holding("one", 10 * SMALL_BYTES) as first, memory.holding("other", 10 * SMALL_BYTES) as second:
        first.announce(10 * SMALL_BYTES)  # which holds nothing, either
        second.announce(10 * SMALL_BYTES)
        first.grow(6 * SMALL_BYTES)
        with pytest.raises(NoMemoryFree):
            second.announce(6 * SMALL_BYTES)
        second.announce(UNCOUNTED_BYTES)
        first.give_back()
        second.announce(10 * SMALL_BYTES)


def test_small_bodies_have_a_reserve_that_large_ones_cannot_take() -> None:
    memory = BodyMemory(256_000_000)
    with ExitStack() as stack:
        for number in range(100):
            fill(stack.enter_context(memory.holding(f"address {number}", LARGE)))
        for _ in range(16):
            stack.enter_context(memory.holding("address 0", SMALL_BYTES)).grow(SMALL_BYTES)


def test_a_short_body_has_room_whatever_others_hold() -> None:
    memory = BodyMemory(256_000_000)
    with ExitStack() as stack:
        for most in (SMALL_BYTES, LARGE):
            for number in range(1000):
                fill(stack.enter_context(memory.holding(f"address {number % 10}", most)))
        stack.enter_context(memory.holding("address 0", SMALL_BYTES)).grow(UNCOUNTED_BYTES)
        with pytest.raises(NoMemoryFree, match="the 32000000 bytes"):
            stack.enter_context(memory.holding("address 0", SMALL_BYTES)).grow(UNCOUNTED_BYTES + 1)


def test_every_address_may_have_a_long_answer_and_more_where_there_is_room() -> None:
    answers = AnswerMemory(100)
    with answers.holding("here", 1000):
        with pytest.raises(NoMemoryFree, match="ask for fewer items at a time"), answers.holding("here", 1):
            raise AssertionError
        with answers.holding("there", 1000):
            pass
    with answers.holding("here", 50), answers.holding("here", 50):
        pass


async def test_a_caller_who_waits_too_long_for_a_place_is_told_to_come_again() -> None:
    places = AnswerPlaces(1, wait_seconds=0.0)
    async with places.one("here"):
        with pytest.raises(TooManyAnswers, match="1 long answers are being prepared"):
            async with places.one("there"):
                raise AssertionError("there is one place")
    async with places.one("there"):
        pass


async def test_a_caller_waits_for_its_place_and_addresses_take_turns() -> None:
    places = AnswerPlaces(1)
    order: list[str] = []

    async def ask(address: str) -> None:
        async with places.one(address):
            order.append(address)
            await asyncio.sleep(0)

    await asyncio.gather(*map(ask, ["greedy", "greedy", "greedy", "other"]))
    assert order == ["greedy", "greedy", "other", "greedy"]
