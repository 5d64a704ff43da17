"""Slow down callers that are refused again and again.

Otherwise a caller that sends its next call as soon as the last one is refused could use as much of the server's time as
it likes. Each address may be refused at a steady rate, and for a short time more often. Further refusals have to wait.
Answers that are not refusals never wait. Attackers may have many addresses, so those that are refused at the same time
share the rates of a few.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tcsfeel.inbound.bounds import Bounds

BURST_SECONDS = 5.0  # after so long without a refusal, an address may get the refusals of this time at once
MOST_SECONDS = 5.0  # the longest wait of a refusal
FULL_RATES = 3  # so many addresses may be refused at the full rate at the same time; more of them share these rates
MOST_WAITING = 512  # refusals that wait at the same time; each keeps the bytes that its connection has received
MOST_ADDRESSES = 1024


class Refusals:
    """The refusals of one server: when each address may be refused next.

    Attributes:
        note: called for each refusal that has to wait, or is not sent because too many wait.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.note: Callable[[], None] = lambda: None
        self._rate = bounds.refusals_per_second
        # When the refusals of an address so far are used up, and when it was refused last, in the order of the latter.
        self._due: dict[str, tuple[float, float]] = {}
        self._waiting = 0
        self._ended = asyncio.Event()

    def delay(self, address: str, now: float) -> float:
        """Count a refusal, and return the seconds that it has to wait."""
        due, _ = self._due.pop(address, (0.0, 0.0))
        self._forget(now)
        crowd = max(1.0, (len(self._due) + 1) / FULL_RATES)
        due = min(max(due, now - BURST_SECONDS) + crowd / self._rate, now + MOST_SECONDS)
        self._due[address] = due, now
        return max(0.0, due - now)

    def _forget(self, now: float) -> None:
        """Forget the addresses that have all their refusals again, and the oldest of too many."""
        while self._due:
            oldest = next(iter(self._due))
            if len(self._due) < MOST_ADDRESSES and now - self._due[oldest][1] < BURST_SECONDS + MOST_SECONDS:
                return
            del self._due[oldest]

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
