"""Questions that may get no answer."""

import asyncio

import pytest

from app.services.fleet.inquiries import Inquiry

SHORT = 0.02


async def test_every_asker_gets_the_answer_of_the_one_question() -> None:
    asked = 0
    answered = asyncio.Event()

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await answered.wait()
        return asked

    inquiry = Inquiry(ask, seconds=60)
    askers = [asyncio.create_task(inquiry.answer()) for _ in range(100)]
    await asyncio.sleep(0)
    answered.set()
    assert await asyncio.gather(*askers) == [1] * 100
    assert await inquiry.answer() == 2


async def test_an_asker_waits_for_a_bounded_time_and_the_question_stays_the_only_one() -> None:
    asked = 0
    answered = asyncio.Event()

    async def ask() -> str:
        nonlocal asked
        asked += 1
        await answered.wait()
        return "at last"

    inquiry = Inquiry(ask, seconds=SHORT)
    for _ in range(3):
        with pytest.raises(TimeoutError, match=r"has not answered for 0\.02 s"):
            await inquiry.answer()
    assert asked == 1
    answered.set()
    assert await inquiry.answer() == "at last"
    assert asked == 1


async def test_an_error_is_every_askers_and_the_next_one_asks_again() -> None:
    async def ask() -> None:
        raise ConnectionError("no database")

    inquiry = Inquiry(ask, seconds=60)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="no database"):
            await inquiry.answer()


async def test_what_is_under_way_is_called_off_at_the_end() -> None:
    ended = asyncio.Event()

    async def ask() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    inquiry = Inquiry(ask, seconds=SHORT)
    inquiry.close()  # nothing is under way yet
    with pytest.raises(TimeoutError):
        await inquiry.answer()
    inquiry.close()
    await ended.wait()
