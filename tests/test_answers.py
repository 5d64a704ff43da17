"""Places in which long answers are made."""

import asyncio

import pytest

from app.answers import AnswerPlaces, TooManyAnswers


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
