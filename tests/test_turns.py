"""Turns on the event loop."""

import asyncio
from collections import Counter

from app.sharing import party
from app.turns import PER_PASS, Turns


async def test_each_pass_of_the_loop_gives_a_few_turns_in_the_order_of_asking() -> None:
    turns, passes, taken = Turns(), 0, []

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    async def work(number: int) -> None:
        await turns.take()
        taken.append((number, passes))

    counting = asyncio.create_task(count())
    await asyncio.gather(*(work(number) for number in range(3 * PER_PASS)))
    counting.cancel()

    assert [number for number, _ in taken] == list(range(3 * PER_PASS))
    given = Counter(number for _, number in taken)
    assert list(given.values()) == [PER_PASS] * 3


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


async def test_parties_take_turns_however_many_tasks_one_of_them_has() -> None:
    turns, taken = Turns(), list[str]()

    async def work(name: str) -> None:
        await turns.take()
        taken.append(name)

    with party("crowd"):
        crowd = [asyncio.create_task(work("crowd")) for _ in range(20)]
    with party("small"):
        small = [asyncio.create_task(work("small")) for _ in range(2)]
    await asyncio.gather(*crowd, *small)
    assert taken[:4] == ["crowd", "small", "crowd", "small"]
    assert len(taken) == 22
