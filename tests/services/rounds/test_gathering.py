"""Several jobs at once, and how they end."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from app.clock import SystemClock
from app.services.rounds.gathering import gather
from app.store.leases import Fenced
from tests.clocks import FakeClock, Sleeping


async def test_of_several_errors_one_is_raised_and_none_is_left_behind() -> None:
    """An owner that has lost its lease finds it out in many jobs at once."""
    left_behind: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: left_behind.append(context))
    instant = asyncio.Event()

    async def fenced() -> float:
        await instant.wait()
        raise Fenced("training")

    asyncio.get_running_loop().call_soon(instant.set)
    with pytest.raises(Fenced):
        await gather(
            [fenced(), fenced(), fenced()], clock=SystemClock(), goal=3, quorum=3, deadline=1e12, grace_seconds=0.0
        )
    gc.collect()
    await asyncio.sleep(0)
    assert left_behind == []


class Watched(asyncio.Task[Any]):
    """A task that counts how often it is asked to tell that it is over, with all others of its kind."""

    asked = 0

    def add_done_callback(self, callback: Callable[..., object], /, **given: Any) -> None:
        Watched.asked += 1
        super().add_done_callback(callback, **given)


async def test_an_answer_costs_the_same_however_many_are_still_to_come() -> None:
    """Each answer had every other task looked at again: 4 000 of them took 5 s."""
    jobs = 200
    gates = [asyncio.Event() for _ in range(jobs)]

    async def job(gate: asyncio.Event) -> float:
        await gate.wait()
        return 1.0

    async def open_one_by_one() -> None:
        for gate in gates:
            gate.set()
            for _ in range(5):
                await asyncio.sleep(0)

    def made(loop: asyncio.AbstractEventLoop, work: Any) -> asyncio.Task[Any]:
        return Watched(work, loop=loop)

    loop = asyncio.get_running_loop()
    opening = asyncio.create_task(open_one_by_one())
    Watched.asked = 0
    loop.set_task_factory(made)
    try:
        enough = await gather(
            map(job, gates), clock=SystemClock(), goal=jobs, quorum=jobs, deadline=1e12, grace_seconds=0.0
        )
    finally:
        loop.set_task_factory(None)
    await opening
    assert enough
    assert Watched.asked <= 5 * jobs


async def test_answers_that_only_have_to_be_stored_count_when_time_is_up() -> None:
    clock, stored = FakeClock(0.0, sleeping=Sleeping.SKIPS), asyncio.Event()

    async def answered() -> float:
        await stored.wait()
        return 1.0

    async def silent() -> float:
        await asyncio.Event().wait()
        raise AssertionError

    async def hurry() -> None:
        stored.set()
        for _ in range(3):
            await asyncio.sleep(0)

    enough = await gather(
        [answered(), silent()], clock=clock, goal=2, quorum=1, deadline=10.0, grace_seconds=5.0, hurry=hurry
    )
    assert enough
    assert clock.slept == [10.0]
