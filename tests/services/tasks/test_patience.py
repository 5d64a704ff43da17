"""How long an agent may keep us waiting."""

import asyncio

import pytest

from app.services.tasks.patience import Patience, TooSlow


async def never(patience: Patience) -> None:
    """Wait for something that does not happen."""
    await patience.wait(asyncio.get_running_loop().create_future())


async def test_a_wait_ends_with_the_patience() -> None:
    patience = Patience(0.01, 1000)
    with pytest.raises(TooSlow):
        await never(patience)
    assert patience.is_over


async def test_nothing_is_left_to_wait_once_it_is_over() -> None:
    patience = Patience(0.0, 1000)
    with pytest.raises(TooSlow):
        await never(patience)


async def test_bytes_earn_it_back_but_no_more_than_there_was() -> None:
    patience = Patience(0.01, 1000)
    with pytest.raises(TooSlow):
        await never(patience)
    patience.earn(10**9)
    assert not patience.is_over
    async with asyncio.timeout(20):
        with pytest.raises(TooSlow):  # of a million seconds that the bytes would be worth, a hundredth of one is left
            await never(patience)


async def test_another_timeout_is_not_taken_for_it() -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0):
            await never(Patience(60, 1000))
    assert not isinstance(caught.value, TooSlow)
