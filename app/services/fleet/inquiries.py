"""Queries that many callers need, and that one task at a time sends to the database."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


class Inquiry(Generic[Answer]):
    """Asks `ask`, and waits for its answer for `seconds` at most.

    A question that is under way is not asked a second time, and not called off when its asker loses patience: to call
    off a statement takes the database too. So a database that does not answer holds up one connection and one task.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Answer]], *, seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._task: asyncio.Task[Answer] | None = None

    async def answer(self) -> Answer:
        """Give the answer. Raises `TimeoutError`, and what `ask` raises."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask())
            self._task.add_done_callback(_looked_at)
        done, _ = await asyncio.wait([self._task], timeout=self._seconds)
        if not done:
            raise TimeoutError(f"the database has not answered for {self._seconds:g} s")
        return done.pop().result()

    def close(self) -> None:
        """Call off what is under way."""
        if self._task is not None:
            self._task.cancel()


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Retrieve an error that comes when no caller waits for it any more."""
    if not task.cancelled():
        task.exception()
