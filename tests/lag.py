"""How long the event loop is held."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Lag:
    """`longest` is how much CPU time this process used, in whatever thread, between two turns of the event loop.

    Unlike the time of a clock it does not grow while other processes have the cores. A thread that holds the
    interpreter counts, as it should; one that lets it go counts too, so that the loop may do better than this says.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        while True:
            began = time.process_time()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.process_time() - began)


@asynccontextmanager
async def watched() -> AsyncIterator[Lag]:
    lag = Lag()
    gc.disable()  # a process full of tests takes long to look at, which is no fault of what is measured
    watching = asyncio.create_task(lag.watch())
    await asyncio.sleep(0.005)
    lag.longest = 0.0
    try:
        yield lag
        await asyncio.sleep(0.005)  # the last turn counts as well
    finally:
        gc.enable()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


class Turns:
    """`number` is how many turns the event loop has had."""

    def __init__(self) -> None:
        self.number = 0

    async def count(self) -> None:
        while True:
            self.number += 1
            await asyncio.sleep(0)


@asynccontextmanager
async def turns() -> AsyncIterator[Turns]:
    """Count the turns of the event loop while what is inside runs."""
    counted = Turns()
    counting = asyncio.create_task(counted.count())
    try:
        yield counted
    finally:
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting
