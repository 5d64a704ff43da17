"""How long an agent may keep us waiting."""

import asyncio

import pytest

from app.services.tasks.patience import Patience, TooSlow


async def test_a_wait_ends_with_the_patience() -> None:
    patience = Patience(0.01, 1000)
    with pytest.raises(TooSlow):
        async with patience.waiting():
            await asyncio.Event().wait()
    assert patience.is_over


async def test_nothing_is_left_to_wait_once_it_is_over() -> None:
    patience = Patience(0.0, 1000)
    with pytest.raises(TooSlow):
        async with patience.waiting():
            await asyncio.Event().wait()


async def test_bytes_earn_it_back_but_no_more_than_there_was() -> None:
    patience = Patience(0.01, 1000)
    with pytest.raises(TooSlow):
        async with patience.waiting():
            await asyncio.Event().wait()
    patience.earn(10**9)
    assert not patience.is_over
    async with asyncio.timeout(20):
        with pytest.raises(TooSlow):  # of a million seconds that the bytes would be worth, a hundredth of one is left
            async with patience.waiting():
                await asyncio.Event().wait()


async def test_another_timeout_is_not_taken_for_it() -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0), Patience(60, 1000).waiting():
            await asyncio.Event().wait()
    assert not isinstance(caught.value, TooSlow)
