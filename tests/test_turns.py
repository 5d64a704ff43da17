"""Turns on the event loop."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

from app.sharing import party
from app.turns import BUSY_SECONDS, CROWD_SECONDS, PER_PASS, STRANGER_SECONDS, CallTurns, Turns


async def test_each_pass_of_the_loop_gives_a_few_turns_in_the_order_of_asking() -> None:
    turns, passes, taken = Turns(Loop()), 0, []

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


async def test_long_passes_of_the_loop_give_a_single_turn() -> None:
    loop, taken = Loop(), []
    turns = Turns(loop)

    async def work() -> None:
        await turns.take()
        taken.append(loop.now)

    async with loop.working(2 * BUSY_SECONDS):
        await asyncio.gather(*(work() for _ in range(3 * PER_PASS)))
    assert len(set(taken[PER_PASS:])) == len(taken[PER_PASS:])


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


class Loop:
    """A clock that other work on the event loop moves in each of its passes."""

    def __init__(self) -> None:
        self.now = 100.0

    @asynccontextmanager
    async def working(self, seconds: float) -> AsyncIterator[None]:
        """In the block, each pass of the loop takes so long."""

        async def work() -> None:
            while True:
                self.now += seconds
                await asyncio.sleep(0)

        working = asyncio.create_task(work())
        try:
            yield
        finally:
            working.cancel()

    def __call__(self) -> float:
        return self.now


async def test_callers_that_are_known_begin_before_strangers_who_came_first() -> None:
    turns, begun = CallTurns(Loop()), list[str]()

    async def call(name: str, *, known: bool) -> None:
        await turns.take(name, known=known)
        begun.append(name)

    strangers = [asyncio.create_task(call(f"stranger {number}", known=False)) for number in range(2)]
    known = [asyncio.create_task(call(f"known {number}", known=True)) for number in range(2)]
    await asyncio.gather(*strangers, *known)
    # The first call of a stranger for a while begins beside a known one.
    assert begun == ["known 0", "stranger 0", "known 1", "stranger 1"]


async def test_strangers_begin_as_fast_as_the_loop_goes_while_there_is_no_other_work() -> None:
    loop, passes = Loop(), 0
    turns = CallTurns(loop)

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    async with loop.working(BUSY_SECONDS / 2):
        await asyncio.gather(*(turns.take("a", known=False) for _ in range(50)))
    counting.cancel()
    assert passes <= 55


async def test_strangers_wait_for_other_work_but_not_for_ever() -> None:
    loop, begun = Loop(), list[float]()
    turns = CallTurns(loop)

    async def call(address: str) -> None:
        await turns.take(address, known=False)
        begun.append(loop.now)

    async with loop.working(2 * BUSY_SECONDS):
        await asyncio.gather(*(call(f"stranger {number}") for number in range(150)))

    soon = [at for at in begun if at < begun[0] + CROWD_SECONDS - STRANGER_SECONDS]
    assert len(soon) > 50
    assert min(later - earlier for earlier, later in pairwise(soon)) >= STRANGER_SECONDS - 1e-9
    crowd = begun[len(soon) + 3 :]  # of all that wait for longer, one begins in each pass
    assert max(later - earlier for earlier, later in pairwise(crowd)) <= 2 * BUSY_SECONDS + 1e-9


async def test_known_callers_do_not_keep_strangers_out() -> None:
    loop, begun = Loop(), list[float]()
    turns = CallTurns(loop)

    async def known() -> None:
        while True:
            await turns.take("known", known=True)

    async def stranger() -> None:
        await turns.take("stranger", known=False)
        begun.append(loop.now)

    calling = [asyncio.create_task(known()) for _ in range(3)]
    async with loop.working(0.0001):
        await asyncio.gather(*(stranger() for _ in range(10)))
    for task in calling:
        task.cancel()
    assert begun[-1] - begun[0] <= 10 * (STRANGER_SECONDS + 0.0002)
