"""The time of day, behind an interface so that tests can stop it."""

import asyncio
import time
from typing import Protocol

TOLERANCE_SECONDS = 0.05


class Clock(Protocol):
    """The clock that services use to read the time and to wait."""

    def now(self) -> float:
        """Return the time in unix seconds."""
        ...

    def behind(self, now: float) -> float:
        """Return by how many seconds this clock is behind an authoritative one that shows `now`, in unix seconds."""
        ...

    def adopt(self, now: float) -> None:
        """Set this clock to the time of an authoritative one, which shows `now`, in unix seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        ...


class SystemClock:
    """The machine's clock, adjusted to the database's clock, so that all servers use the same time.

    It reads the machine's time of day once and then runs steadily, so setting the machine's clock does not change it;
    only the database's clock does.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset

    def behind(self, now: float) -> float:
        return now - self.now()

    def adopt(self, now: float) -> None:
        """Take over another clock's time, unless the difference is no larger than the time that it took to read it."""
        offset = now - time.monotonic()
        if abs(offset - self._offset) > TOLERANCE_SECONDS:
            self._offset = offset

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
