"""Thousands of tasks begin and end without keeping the event loop from anything else."""

import asyncio
from collections import Counter

import pytest

from app.services.tasks.crowds import PER_PASS, Crowd

MANY = 20 * PER_PASS


class Passes:
    """Counts what happens between two turns of another task, which wants one in each pass of the event loop."""

    def __init__(self) -> None:
        self.most: Counter[str] = Counter()
        self._now: Counter[str] = Counter()

    def note(self, what: str) -> None:
        self._now[what] += 1
        self.most[what] = max(self.most[what], self._now[what])

    async def watch(self) -> None:
        while True:
            self._now.clear()
            await asyncio.sleep(0)

    async def job(self) -> None:
        self.note("begun")
        try:
            await asyncio.Event().wait()
        finally:
            self.note("ended")


async def test_few_tasks_of_a_crowd_begin_or_end_in_one_pass_of_the_loop() -> None:
    passes = Passes()
    watching = asyncio.create_task(passes.watch())
    crowd = Crowd(passes.job() for _ in range(MANY))
    tasks = await crowd.begin()
    assert len(tasks) == MANY
    await asyncio.sleep(0)
    await crowd.end()
    assert all(task.cancelled() for task in tasks)
    assert passes.most == {"begun": PER_PASS, "ended": PER_PASS}
    watching.cancel()


async def test_a_crowd_that_is_called_off_while_it_begins_leaves_nothing_behind() -> None:
    passes = Passes()

    async def run() -> None:
        crowd = Crowd(passes.job() for _ in range(MANY))
        try:
            await crowd.begin()
        finally:
            await crowd.end()

    running = asyncio.create_task(run())
    for _ in range(3):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert 0 < passes.most["begun"] < MANY
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_crowd_whose_end_is_called_off_itself_ends_all_the_same() -> None:
    passes = Passes()
    crowd = Crowd(passes.job() for _ in range(MANY))
    tasks = await crowd.begin()
    await asyncio.sleep(0)
    ending = asyncio.create_task(crowd.end())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert all(task.cancelled() for task in tasks)
