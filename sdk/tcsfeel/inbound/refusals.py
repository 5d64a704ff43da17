"""Slow down callers that are refused again and again.

Otherwise a caller that sends its next call as soon as the last one is refused could use as much of the server's time as
it likes. Each address may be refused at a steady rate, and for a short time more often. Further refusals have to wait.
Answers that are not refusals never wait.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tcsfeel.inbound.bounds import Bounds

BURST_SECONDS = 5.0  # after so long without a refusal, an address may get the refusals of this time at once
MOST_SECONDS = 5.0  # the longest wait of a refusal
MOST_WAITING = 128  # refusals that wait at the same time; each keeps the bytes that its connection has received
MOST_ADDRESSES = 1024


class Refusals:
    """The refusals of one server: when each address may be refused next.

    Attributes:
        note: called for each refusal that has to wait, or is not sent because too many wait.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.note: Callable[[], None] = lambda: None
        self._rate = bounds.refusals_per_second
        # When the refusals of an address so far are used up. The address that was refused last is the last entry.
        self._due: dict[str, float] = {}
        self._waiting = 0
        self._ended = asyncio.Event()

    def delay(self, address: str, now: float) -> float:
        """Count a refusal, and return the seconds that it has to wait."""
        due = max(self._due.pop(address, 0.0), now - BURST_SECONDS) + 1 / self._rate
        self._due[address] = due = min(due, now + MOST_SECONDS)
        if len(self._due) > MOST_ADDRESSES:
            del self._due[next(iter(self._due))]
        return max(0.0, due - now)

    async def wait(self, address: str) -> bool:
        """Wait until the address may be refused. Returns False if too many wait: then close the connection."""
        seconds = self.delay(address, asyncio.get_running_loop().time())
        if seconds == 0 or self._ended.is_set():
            return True
        self.note()
        if self._waiting >= MOST_WAITING:
            return False
        self._waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ended.wait()
        finally:
            self._waiting -= 1
        return True

    def end(self) -> None:
        """Send all refusals that wait, because the server stops."""
        self._ended.set()
