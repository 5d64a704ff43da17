"""The clock that tests put in place of the machine's."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum, auto
from typing import Any


class Sleeping(Enum):
    """What becomes of those who sleep on a `FakeClock`."""

    WAITS = auto()
    """The clock stands still, and `advance` wakes the sleepers whose time has come, in order."""
    SKIPS = auto()
    """A sleep takes no time: the clock jumps to its end, after what `meanwhile` does."""
    LASTS = auto()
    """The clock goes on with the machine's, and a sleep lasts as long as it was asked to, whatever `advance` does."""


class FakeClock:
    """Implements `app.clock.Clock`, and by `now` the clocks of the library. `advance` lets time go by at once.

    `slept` has the length of each sleep; `next_sleep` waits for one to begin. A sleep that is skipped takes at least
    `least_sleep` seconds.
    """

    def __init__(
        self, now: float = 1_000_000.0, *, sleeping: Sleeping = Sleeping.WAITS, least_sleep: float = 0.0
    ) -> None:
        self._sleeping = sleeping
        self._goes_on = sleeping is Sleeping.LASTS
        self._now = time.time() - time.monotonic() if self._goes_on else now
        self._least_sleep = least_sleep
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._begun: asyncio.Queue[float] = asyncio.Queue()
        self.slept: list[float] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    def now(self) -> float:
        return self._now + (time.monotonic() if self._goes_on else 0.0)

    def behind(self, now: float) -> float:  # noqa: ARG002  (`app.clock.Clock` gives it)
        """The test's time is the only one, so that no other clock is seen to be set."""
        return 0.0

    def adopt(self, now: float) -> None:
        """The test's time is the only one."""

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Begins at once, not when a task gets its first turn: the test may have moved the clock by then."""
        self.slept.append(seconds)
        self._begun.put_nowait(seconds)
        if self._sleeping is Sleeping.SKIPS:
            return self._skip(seconds)
        if self._sleeping is Sleeping.LASTS:
            return asyncio.sleep(seconds)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if seconds > 0:
            heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        else:
            woken.get_loop().call_soon(_wake, woken)
        return _until(woken)

    async def next_sleep(self) -> float:
        """Return once another sleep has begun, with its length."""
        return await self._begun.get()

    def is_slept_on(self, seconds: float | None = None) -> bool:
        """Whether somebody wants to be woken, in exactly so many seconds if they are given."""
        return any(seconds is None or at == self._now + seconds for at, _, _ in self._sleepers)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            _wake(woken)

    async def _skip(self, seconds: float) -> None:
        if self.meanwhile is not None:
            await self.meanwhile()
        self.advance(max(seconds, self._least_sleep))
        await asyncio.sleep(0)


async def _until(woken: asyncio.Future[None]) -> None:
    await woken


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
