"""Limit how long an agent may keep the control plane waiting. Each byte that moves adds time again."""

import asyncio


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
        self._since: float | None = None  # when the wait began, or when bytes came last

    @property
    def is_over(self) -> bool:
        """Tell whether no time is left."""
        return self._left <= 0

    def earn(self, size: int) -> None:
        """Count `size` bytes that have moved, perhaps during a wait."""
        self._spend()
        self._left = min(self._seconds, self._left + size / self._rate)

    async def wait(self, awaited: asyncio.Future[None]) -> None:
        """Wait for something that the agent does. Raises `TooSlow`."""
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        self._timer = loop.call_later(max(0.0, self._left), self._look, awaited)
        try:
            await awaited
        finally:
            self._timer.cancel()
            self._spend()
            self._since = None

    def _look(self, awaited: asyncio.Future[None]) -> None:
        """End a wait if no time is left. If bytes have come meanwhile, there is."""
        self._spend()
        if self._left > 0:
            self._timer = asyncio.get_running_loop().call_later(self._left, self._look, awaited)
        elif not awaited.done():
            awaited.set_exception(TooSlow("the agent did not answer in time"))

    def _spend(self) -> None:
        """Take the time that has passed in a wait off what is left."""
        if self._since is not None:
            now = asyncio.get_running_loop().time()
            self._left -= now - self._since
            self._since = now
