"""Run a look after each hint, and from time to time without one."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from app.store.database import in_a_line, is_outage

GAP_SECONDS = 0.01  # at least, between two looks, in which the hints of a burst of changes are collected
GAP_SHARE = 3.0  # of the time of a look, so that looks at many tasks leave most of the time to others

log = structlog.get_logger(__name__)


def gap_after(seconds: float) -> float:
    """Return how many seconds to wait after a look that took so many."""
    return max(GAP_SECONDS, GAP_SHARE * seconds)


class Hints:
    """Hints that something has changed. Those that come during a look count together as one."""

    def __init__(self) -> None:
        self._given = asyncio.Event()

    def give(self) -> None:
        """Let the next look begin at once."""
        self._given.set()

    async def follow(self, look: Callable[[], Awaitable[None]], period: float) -> None:
        """Look after each hint, and once in a `period` (seconds), until cancelled. A look may fail."""
        while True:
            try:
                async with asyncio.timeout(period):
                    await self._given.wait()
            except TimeoutError:
                pass
            self._given.clear()
            try:
                began = time.monotonic()
                await look()
                await asyncio.sleep(gap_after(time.monotonic() - began))
            except Exception as error:
                if not is_outage(error):
                    log.exception("the mailbox could not be read")
                else:
                    log.debug("the mailbox could not be read", reason=in_a_line(error))
                await asyncio.sleep(period)
