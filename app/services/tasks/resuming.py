"""What transfers to and from agents that are called have in common when they go on after a break."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

TRIES = 4  # one after the other that bring less than `LEAST_BYTES`
LEAST_BYTES = 1 << 16
FIRST_PAUSE_SECONDS = 0.25


def _ignore(body: str) -> None:
    del body


@dataclass(frozen=True, slots=True)
class Resuming:
    """How transfers go on.

    Attributes:
        note: is told that one goes on, with what it brings: a `task`, a `result` or a `model`.
        sleep: waits for this many seconds.
    """

    note: Callable[[str], object] = _ignore
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def pause(self, failures: int) -> None:
        """Wait before the next try: not at all if the last one has brought something, and then longer each time."""
        if failures:
            await self.sleep(FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1))
