"""Run several tasks at once, until the domain decides that enough answers are in."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from app.clock import Clock
from app.domain.verdicts import judge
from app.services.tasks.crowds import Crowd


async def _nothing() -> None:
    """Do nothing."""


async def gather(
    jobs: Iterable[Coroutine[Any, Any, float | None]],
    *,
    clock: Clock,
    arrivals: Iterable[float] = (),
    goal: int,
    quorum: int,
    deadline: float,
    grace_seconds: float,
    early: int | None = None,
    hurry: Callable[[], Awaitable[None]] = _nothing,
) -> bool:
    """Run `jobs` until there is a verdict, and cancel the rest. Returns True if the round goes on with these answers.

    When time is up, `hurry` lets the jobs end first whose answers are there and only have to be stored.

    A job returns the instant at which its answer became usable, or None if it has none. An error in a job, such as a
    lost lease, ends all jobs. The other arguments are those of `judge`; `arrivals` holds earlier answers.
    """
    # Tasks come here as they end. `asyncio.wait` would look at every task again for each one that ends.
    over: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()
    crowd = Crowd(jobs)
    came = list(arrivals)
    timer: asyncio.Task[None] | None = None
    try:
        waiting = set(await crowd.begin())
        for task in waiting:
            task.add_done_callback(over.put_nowait)
        while True:
            now = clock.now()
            verdict = judge(
                now=now,
                arrivals=came,
                outstanding=len(waiting),
                goal=goal,
                quorum=quorum,
                deadline=deadline,
                grace_seconds=grace_seconds,
                early=early,
            )
            if verdict.action != "wait":
                return verdict.action == "proceed"
            timer = asyncio.create_task(clock.sleep(verdict.until - now))
            timer.add_done_callback(lambda rung: None if rung.cancelled() else over.put_nowait(rung))
            ended = await _some(over)
            timer.cancel()
            if timer in ended:
                await hurry()
                ended += _ended(over)
            came += [arrival for task in ended if task in waiting and (arrival := task.result()) is not None]
            waiting.difference_update(ended)
    finally:
        if timer is not None:
            timer.cancel()
        await crowd.end()


async def _some(over: "asyncio.Queue[asyncio.Task[Any]]") -> list["asyncio.Task[Any]"]:
    """Wait until a task ends, and return all tasks that have ended by then."""
    return [await over.get(), *_ended(over)]


def _ended(over: "asyncio.Queue[asyncio.Task[Any]]") -> list["asyncio.Task[Any]"]:
    """Return the tasks that have ended."""
    return [over.get_nowait() for _ in range(over.qsize())]
