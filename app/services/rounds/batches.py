"""Collect items while a write is under way, and write them together afterwards (a group commit)."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Key, Item, Result]):
    """Passes the items of a key to `write`, at most `limit` at once and one batch after the other.

    `write` returns a result for each item; if it raises an error, every caller of the batch gets it. If all callers of
    a batch are cancelled, `write` is cancelled too, and they wait until it has ended. So nothing is written for callers
    that are gone.
    """

    def __init__(
        self, write: Callable[[Key, Sequence[Item]], Coroutine[Any, Any, Sequence[Result]]], *, limit: int
    ) -> None:
        self._write = write
        self._limit = limit
        self._queues: WeakValueDictionary[Key, _Queue[Item, Result]] = WeakValueDictionary()

    async def put(self, key: Key, item: Item) -> Result:
        """Write `item`, and return its result."""
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = queue = _Queue(partial(self._write, key), self._limit)
        return await queue.put(item)


class _Queue(Generic[Item, Result]):
    def __init__(self, write: Callable[[Sequence[Item]], Coroutine[Any, Any, Sequence[Result]]], limit: int) -> None:
        self._write = write
        self._limit = limit
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._batch: list[tuple[Item, asyncio.Future[Result]]] = []
        self._writing: asyncio.Task[Sequence[Result]] | None = None

    async def put(self, item: Item) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._writing is None:
            self._begin()
        try:
            return await future
        except asyncio.CancelledError:
            if self._writing is not None and all(other.done() for _, other in self._batch):
                self._writing.cancel()
                await asyncio.wait([self._writing])
            raise

    def _begin(self) -> None:
        wanted = [entry for entry in self._waiting if not entry[1].done()]
        self._batch, self._waiting = wanted[: self._limit], wanted[self._limit :]
        self._writing = None
        if self._batch:
            self._writing = asyncio.create_task(  # noqa: RUF006  (it is kept)
                self._write([item for item, _ in self._batch])
            )
            self._writing.add_done_callback(self._end)

    def _end(self, writing: "asyncio.Task[Sequence[Result]]") -> None:
        problem = None if writing.cancelled() else writing.exception()
        for position, (_, future) in enumerate(self._batch):
            if future.done():
                continue
            if writing.cancelled():
                future.cancel()
            elif problem is not None:
                future.set_exception(problem)
            else:
                future.set_result(writing.result()[position])
        self._begin()
