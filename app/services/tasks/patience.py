"""How long an agent may keep the control plane waiting: a stretch of time that bytes earn back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TooSlow(TimeoutError):
    """An agent that did not answer, or not go on, in time."""


class Patience:
    """Waits of `seconds` altogether. Each byte that moves gives 1 / `rate` seconds back, up to `seconds` again.

    So no silence is longer than `seconds`, and whatever has n bytes ends after `seconds` + n / `rate`. Only what is
    spent waiting for the agent counts, and not what its bytes are waiting for here.
    """

    def __init__(self, seconds: float, rate: float) -> None:
        self._seconds = self._left = seconds
        self._rate = rate

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self._left <= 0

    def earn(self, size: int) -> None:
        """`size` bytes have moved."""
        self._left = min(self._seconds, self._left + size / self._rate)

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """A wait for the agent. Raises `TooSlow`."""
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
