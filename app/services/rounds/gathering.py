"""Several tasks at once, until the domain judges that enough answers are in."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from app.clock import Clock
from app.domain.rounds import judge


async def gather(
    jobs: Iterable[Coroutine[Any, Any, float | None]],
    *,
    clock: Clock,
    arrivals: Iterable[float] = (),
    goal: int,
    quorum: int,
    deadline: float,
    grace_seconds: float,
) -> bool:
    """Run `jobs` until there is a verdict, and cancel the rest; True to go on with what came in.

    A job gives the instant at which its answer became usable, or None where it gave none. An error in a job (a lost
    lease, say) ends everything. The other arguments are those of `judge`; `arrivals` holds earlier answers.
    """
    started = [asyncio.create_task(job) for job in jobs]
    waiting = set(started)
    came = list(arrivals)
    timer: asyncio.Task[None] | None = None
    try:
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
            )
            if verdict.action != "wait":
                return verdict.action == "proceed"
            timer = asyncio.create_task(clock.sleep(verdict.until - now))
            done, _ = await asyncio.wait({*waiting, timer}, return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            waiting -= done
            came += [arrival for task in done - {timer} if (arrival := task.result()) is not None]
    finally:
        everything = [*started, *([] if timer is None else [timer])]
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)  # which looks at every error, too
