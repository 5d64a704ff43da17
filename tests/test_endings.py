"""Work that a cancellation does not cut short."""

import asyncio

import pytest

from app.endings import to_its_end


async def test_it_returns_and_raises_what_the_work_does() -> None:
    async def divide(by: int) -> float:
        await asyncio.sleep(0)
        return 1 / by

    assert await to_its_end(divide(2)) == 0.5
    with pytest.raises(ZeroDivisionError):
        await to_its_end(divide(0))


@pytest.mark.parametrize("fails", [False, True])
async def test_a_caller_that_is_cancelled_again_and_again_leaves_when_the_work_has_ended(fails: bool) -> None:
    go_on, ended = asyncio.Event(), False

    async def work() -> None:
        nonlocal ended
        await go_on.wait()
        ended = True
        if fails:
            raise ZeroDivisionError

    caller = asyncio.create_task(to_its_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended


async def test_a_time_limit_is_told_once_the_work_has_ended() -> None:
    async def work() -> None:
        await asyncio.sleep(0.02)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await to_its_end(work())
