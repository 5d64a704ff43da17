"""Limit how long an agent may keep the control plane waiting. Each byte that moves adds time again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TooSlow(TimeoutError):
    """An agent did not answer in time, or stopped in the middle of an answer."""


class Patience:
    """Allows waits of `seconds` in all. Each byte that moves adds 1 / `rate` seconds again, up to `seconds`.

    So no silence is longer than `seconds`, and n bytes take at most `seconds` + n / `rate`. Only the time that is spent
    waiting for the agent counts, and not the time for which its bytes wait here.
    """

    def __init__(self, seconds: float, rate: float) -> None:
        self._seconds = self._left = seconds
        self._rate = rate

    @property
    def is_over(self) -> bool:
        """Tell whether no time is left."""
        return self._left <= 0

    def earn(self, size: int) -> None:
        """Count `size` bytes that have moved."""
        self._left = min(self._seconds, self._left + size / self._rate)

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Wait for the agent inside. Raises `TooSlow`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        limit = asyncio.timeout(max(0.0, self._left))
        try:
            async with limit:
                yield
        except TimeoutError as error:
            self._left = 0.0
            raise TooSlow("the agent did not answer in time") from error
        finally:
            self._left -= loop.time() - began
