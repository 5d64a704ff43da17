"""Turns on the event loop."""

import asyncio

from app.services.turns import Turns


async def test_each_pass_of_the_loop_gives_one_turn_in_the_order_of_asking() -> None:
    turns, passes, taken = Turns(), 0, []

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    async def work(name: str) -> None:
        await turns.take()
        taken.append((name, passes))

    counting = asyncio.create_task(count())
    await asyncio.gather(*(work(name) for name in "abcd"))
    counting.cancel()

    assert [name for name, _ in taken] == ["a", "b", "c", "d"]
    assert len({number for _, number in taken}) == 4


async def test_who_is_called_off_while_waiting_uses_up_no_turn() -> None:
    turns, taken = Turns(), []

    async def work(name: str) -> None:
        await turns.take()
        taken.append(name)

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert taken == ["a", "c"]

    async with asyncio.timeout(5):
        await work("d")  # and nobody is left behind
    assert taken == ["a", "c", "d"]
