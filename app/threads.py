"""Threads for what blocks or takes long, in a pool for each purpose, so that one kind of work cannot stop another.

Each pool has its own number of threads, divided between the parties that want them (`app.sharing`). A thread that hangs
keeps its place until it ends, also when nobody waits for it any more: that bounds how many threads can hang. Threads
are daemons, so that one that hangs does not keep the process from ending; idle ones end after a while.

The pools belong to the running event loop, as asyncio's own pool does, which is left to what uses it by itself (the
resolver of host names). Nothing of ours may use that one.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import Any, Literal, ParamSpec, TypeVar, get_args
from weakref import WeakKeyDictionary

from app.sharing import Places

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

Purpose = Literal["files", "checks", "aggregation", "selection", "matrices", "messages", "administration"]

# Most of "files" wait for a disk or for a bucket, the others for a core. Code of third parties runs in "selection", and
# may hang for ever: so it has many threads, and its parties are the strategies.
THREADS: dict[Purpose, int] = {
    "files": 16,
    "checks": 4,
    "aggregation": 4,
    "selection": 32,
    "matrices": 4,
    "messages": 4,
    "administration": 4,
}
IDLE_SECONDS = 5.0


async def in_thread(
    purpose: Purpose, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call `function` in a thread of the pool for `purpose`, and return what it returns.

    A caller that is cancelled does not wait any longer; a function that has begun goes on, and keeps its thread.
    """
    loop = asyncio.get_running_loop()
    pools = _POOLS.get(loop)
    if pools is None:
        _POOLS[loop] = pools = {name: Pool(name) for name in get_args(Purpose)}
    return await pools[purpose].run(partial(function, *args, **kwargs))  # type: ignore[no-any-return]  # pools run anything


# In a task they mean something else than that a function has failed: `sys.exit()` would end the event loop.
_OF_THE_LOOP = (StopIteration, GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError)


class Pool:
    """Threads that are started as they are needed, and end where they have been idle for a while."""

    def __init__(self, purpose: Purpose, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._purpose = purpose
        self._idle_seconds = idle_seconds
        self._places = Places(THREADS[purpose])
        self._jobs: SimpleQueue[Callable[[], Callable[[], object]]] = SimpleQueue()
        self._idle = Semaphore(0)  # counts the threads that wait for a job and were promised none

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call `function` in a thread once there is a place for it."""
        holder = await self._places.take()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def end(problem: BaseException | None, result: Any) -> None:
            self._places.give_back(holder)
            if outcome.done():  # the caller was cancelled
                return
            if problem is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(problem)

        def job() -> Callable[[], object]:
            problem: BaseException | None = None
            result = None
            try:
                result = context.run(function)
            except _OF_THE_LOOP as error:
                problem = RuntimeError(f"{type(error).__name__} in a thread")
            except BaseException as error:  # noqa: BLE001  (the caller's to handle, whatever it is)
                problem = error
            return partial(loop.call_soon_threadsafe, end, problem, result)

        self._jobs.put(job)
        if not self._idle.acquire(blocking=False):
            Thread(target=self._work, name=f"tcsfeel-{self._purpose}", daemon=True).start()
        return await outcome

    def _work(self) -> None:
        """Do jobs until there have been none for a while."""
        while True:
            try:
                job = self._jobs.get(timeout=self._idle_seconds)
            except Empty:
                if self._idle.acquire(blocking=False):
                    return
                continue  # a job was promised to this thread just now
            tell = job()
            self._idle.release()
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits any more
                tell()
            del job, tell  # what they hold can be large


_POOLS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Purpose, Pool]] = WeakKeyDictionary()
