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
            _settle(outcome, problem, result)

        def job() -> Callable[[], object]:
            return partial(loop.call_soon_threadsafe, end, *_called(partial(context.run, function)))

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


class OneThread:
    """A thread that calls functions one after the other, in the order in which they were given to it.

    It starts with the first of them. It is a daemon, and ends by itself once there is no reference to this object.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = Thread(target=_work_off, args=(self._jobs,), name=name, daemon=True)
        self._has_ended = False

    async def run(self, function: Callable[[], Result]) -> Result:
        """Call `function` in the thread. It is called in any case, also if the caller is cancelled meanwhile."""
        if self._has_ended:
            raise RuntimeError(f"the thread {self._thread.name} has ended and calls nothing any more")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Result] = loop.create_future()
        self._jobs.put(lambda: loop.call_soon_threadsafe(_settle, outcome, *_called(function)))
        if self._thread.ident is None:
            self._thread.start()
        return await outcome

    def end(self, last: Callable[[], object] = lambda: None) -> None:
        """Let the thread call `last`, and end, after all that it was given before. Return at once."""
        self._has_ended = True
        self._jobs.put(last)
        self._jobs.put(None)

    def __del__(self) -> None:
        self._jobs.put(None)


def _work_off(jobs: SimpleQueue[Callable[[], object] | None]) -> None:
    while (job := jobs.get()) is not None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed: no caller waits any more
            job()
        del job


def _called(function: Callable[[], Result]) -> tuple[BaseException | None, Result | None]:
    """What a function raised, or what it returned."""
    try:
        return None, function()
    except _OF_THE_LOOP as error:
        return RuntimeError(f"{type(error).__name__} in a thread"), None
    except BaseException as error:  # noqa: BLE001  (the caller's to handle, whatever it is)
        return error, None


def _settle(outcome: asyncio.Future[Any], problem: BaseException | None, result: Any) -> None:
    """Give its outcome to a caller that still waits for it."""
    if outcome.done():  # the caller was cancelled
        return
    if problem is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(problem)


_POOLS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Purpose, Pool]] = WeakKeyDictionary()
