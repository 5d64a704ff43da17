"""The time of day, as something that a test can hold still."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What services ask for the time and for its passing."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Come back after `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
