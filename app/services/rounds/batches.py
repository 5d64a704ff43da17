"""Collect items while a write is under way, and write them together afterwards (a group commit)."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


def _at_once(key: Hashable, items: Sequence[object]) -> float:
    """Let no item wait for others."""
    del key, items
    return 0.0


class Batches(Generic[Key, Item, Result]):
    """Passes the items of a key to `write`, at most `limit` at once and one batch after the other.

    `patience` says for how many seconds the items of a key that are there may wait for others. It is asked again for
    each further item, but the first of them waits no longer than it said before.

    `write` returns a result for each item; if it raises an error, every caller of the batch gets it. If all callers of
    a batch are cancelled, `write` is cancelled too, and they wait until it has ended. So nothing is written for callers
    that are gone.
    """

    def __init__(
        self,
        write: Callable[[Key, Sequence[Item]], Coroutine[Any, Any, Sequence[Result]]],
        *,
        limit: int,
        patience: Callable[[Key, Sequence[Item]], float] = _at_once,
    ) -> None:
        self._write = write
        self._limit = limit
        self._patience = patience
        self._queues: WeakValueDictionary[Key, _Queue[Item, Result]] = WeakValueDictionary()

    async def put(self, key: Key, item: Item) -> Result:
        """Write `item`, and return its result."""
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = queue = _Queue(partial(self._write, key), self._limit, partial(self._patience, key))
        return await queue.put(item)

    async def hurry(self, key: Key) -> None:
        """Write what waits, and return when the tasks that have put it have ended. No item waits for others then."""
        if (queue := self._queues.get(key)) is not None:
            await queue.hurry()


class _Queue(Generic[Item, Result]):
    def __init__(
        self,
        write: Callable[[Sequence[Item]], Coroutine[Any, Any, Sequence[Result]]],
        limit: int,
        patience: Callable[[Sequence[Item]], float],
    ) -> None:
        self._write = write
        self._limit = limit
        self._patience = patience
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._batch: list[tuple[Item, asyncio.Future[Result]]] = []
        self._writing: asyncio.Task[Sequence[Result]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._callers: set[asyncio.Task[Any]] = set()

    async def put(self, item: Item) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if (caller := asyncio.current_task()) is not None:
            self._callers.add(caller)
            caller.add_done_callback(self._callers.discard)
        if self._writing is None:
            self._look()
        try:
            return await future
        except asyncio.CancelledError:
            if self._writing is not None and all(other.done() for _, other in self._batch):
                self._writing.cancel()
                await asyncio.wait([self._writing])
            raise

    async def hurry(self) -> None:
        self._patience = partial(_at_once, None)
        if self._writing is None:
            self._begin()
        while self._writing is not None:
            await asyncio.wait([self._writing])
        if self._callers:
            await asyncio.wait(self._callers)

    def _look(self) -> None:
        """Begin a batch, or let the items wait for others."""
        items = [item for item, future in self._waiting if not future.done()]
        seconds = self._patience(items) if 0 < len(items) < self._limit else 0.0
        if seconds <= 0.0:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
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
        self._writing = None
        self._look()
