"""Clocks that the test moves: one stands still until then, one goes on meanwhile."""

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from typing import Any

from app.clock import SystemClock


class FakeClock:
    """Implements `app.clock.Clock`. `advance` wakes the sleepers whose time has come, in order."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self._now = now
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def behind(self, now: float) -> float:  # noqa: ARG002  (`app.clock.Clock` gives it)
        """The test's time is the only one, so that no other clock is seen to be set."""
        return 0.0

    def adopt(self, now: float) -> None:
        """The test's time is the only one."""

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Begins at once, not when a task gets its first turn: the test may have moved the clock by then."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if seconds > 0:
            heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        else:
            woken.get_loop().call_soon(_wake, woken)
        return _until(woken)

    def is_slept_on(self, seconds: float) -> bool:
        """Whether somebody wants to be woken in exactly so many seconds."""
        return any(at == self._now + seconds for at, _, _ in self._sleepers)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            _wake(woken)


async def _until(woken: asyncio.Future[None]) -> None:
    await woken


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class LeapingClock(SystemClock):
    """The machine's clock, on which the test can let time go by at once."""

    def __init__(self) -> None:
        super().__init__()
        self._leapt = 0.0

    def now(self) -> float:
        return super().now() + self._leapt

    def leap(self, seconds: float) -> None:
        """Sleepers are not woken: they sleep as long as they were told to."""
        self._leapt += seconds
