"""Run a look after each hint, and from time to time without one."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from app.store.database import in_a_line, is_outage

GAP_SECONDS = 0.01  # between two looks, in which the hints of a burst of changes are collected

log = structlog.get_logger(__name__)


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
                await look()
                await asyncio.sleep(GAP_SECONDS)
            except Exception as error:
                if not is_outage(error):
                    log.exception("the mailbox could not be read")
                else:
                    log.debug("the mailbox could not be read", reason=in_a_line(error))
                await asyncio.sleep(period)
