"""The time of day, as something that a test can hold still."""

import asyncio
import time
from typing import Protocol

TOLERANCE_SECONDS = 0.05


class Clock(Protocol):
    """What services ask for the time and for its passing."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def behind(self, now: float) -> float:
        """Tell by how many seconds this clock is behind one that has more say, where it is `now`, unix seconds."""
        ...

    def adopt(self, now: float) -> None:
        """Agree with a clock that has more say: it is `now`, unix seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Come back after `seconds`."""
        ...


class SystemClock:
    """The machine's clock, moved to agree with the database's, so that replicas mean the same instant by a number.

    It asks the machine for the time of day once. From then on it goes steadily, so that setting the machine's clock
    does not move it: only the database's does.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset

    def behind(self, now: float) -> float:
        return now - self.now()

    def adopt(self, now: float) -> None:
        """Take over another clock's time, unless the two differ by no more than a look at it takes."""
        offset = now - time.monotonic()
        if abs(offset - self._offset) > TOLERANCE_SECONDS:
            self._offset = offset

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
