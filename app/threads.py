"""Run work that blocks or takes long in threads, with a pool for each purpose, so that none can stop the others.

Each pool has its own number of threads, which are divided between the parties that use it (`app.sharing`). A thread
that hangs keeps its place until it ends, even if no caller waits for it any more; this limits how many threads can
hang. Threads are daemons, so a thread that hangs does not prevent the process from ending. Idle threads end after a
while.

The pools belong to the running event loop, like asyncio's default pool. Our code must not use the default pool, which
is only for asyncio itself (it resolves host names there).
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

from app.endings import to_its_end
from app.sharing import Places

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

Purpose = Literal["files", "checks", "aggregation", "selection", "matrices", "messages", "administration"]

# Most work in "files" waits for a disk or a bucket, other work for a core. Strategies of other packages run in
# "selection" and may hang for ever: so it has many threads, and each strategy is a party.
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
    """Call `function` in a thread of the pool for `purpose`, and return its result.

    A caller that is cancelled stops waiting, but a function that has begun goes on and keeps its thread.
    """
    return await _pool(purpose).run(partial(function, *args, **kwargs))  # type: ignore[no-any-return]  # pools run anything


async def in_thread_to_its_end(
    purpose: Purpose, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call `function` in a thread as `in_thread` does. A caller that is cancelled leaves only when it has ended."""
    pool, call = _pool(purpose), partial(function, *args, **kwargs)
    if pool.crowded:
        return await to_its_end(pool.run(call))
    return await pool.run(call, kept=True)  # type: ignore[no-any-return]


def _pool(purpose: Purpose) -> "Pool":
    loop = asyncio.get_running_loop()
    pools = _POOLS.get(loop)
    if pools is None:
        _POOLS[loop] = pools = {name: Pool(name) for name in get_args(Purpose)}
    return pools[purpose]


# In a task these would not only mean that a function has failed: `sys.exit()` would end the event loop.
_OF_THE_LOOP = (StopIteration, GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError)


class _Kept(asyncio.Future[Any]):
    """A future that cannot be cancelled: a task that is cancelled while it awaits it goes on when it is done.

    So it takes three passes of the event loop less than `to_its_end`, which needs a separate task.
    """

    def cancel(self, msg: Any = None) -> bool:
        del msg
        return False


class Pool:
    """Threads that are started when they are needed, and that end after they have been idle for a while."""

    def __init__(self, purpose: Purpose, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._purpose = purpose
        self._idle_seconds = idle_seconds
        self._places = Places(THREADS[purpose])
        self._jobs: SimpleQueue[Callable[[], Callable[[], object]]] = SimpleQueue()
        self._idle = Semaphore(0)  # counts the threads that wait for a job and have not been promised one

    @property
    def crowded(self) -> bool:
        """Tell whether a caller would have to wait for a place now."""
        return self._places.crowded

    async def run(self, function: Callable[[], Any], *, kept: bool = False) -> Any:
        """Call `function` in a thread once there is a place for it.

        With `kept`, a caller that is cancelled after that gets the cancellation when the function has ended.
        """
        holder = await self._places.take()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = _Kept(loop=loop) if kept else loop.create_future()
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
            with contextlib.suppress(RuntimeError):  # the event loop is closed: no caller waits any more
                tell()
            del job, tell  # what they hold can be large


class OneThread:
    """A thread that calls functions one after the other, in the order in which they were submitted.

    It starts with the first function. It is a daemon, and ends when there is no reference to this object any more.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = Thread(target=_work_off, args=(self._jobs,), name=name, daemon=True)
        self._has_ended = False

    async def run(self, function: Callable[[], Result]) -> Result:
        """Call `function` in the thread. It is called even if the caller is cancelled in the meantime."""
        if self._has_ended:
            raise RuntimeError(f"the thread {self._thread.name} has ended and calls nothing any more")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Result] = loop.create_future()
        self._jobs.put(lambda: loop.call_soon_threadsafe(_settle, outcome, *_called(function)))
        if self._thread.ident is None:
            self._thread.start()
        return await outcome

    def end(self, last: Callable[[], object] = lambda: None) -> None:
        """Let the thread finish all earlier functions, call `last`, and end. Returns at once."""
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
    """Call a function and return its outcome: its exception, or its result."""
    try:
        return None, function()
    except _OF_THE_LOOP as error:
        return RuntimeError(f"{type(error).__name__} in a thread"), None
    except BaseException as error:  # noqa: BLE001  (the caller's to handle, whatever it is)
        return error, None


def _settle(outcome: asyncio.Future[Any], problem: BaseException | None, result: Any) -> None:
    """Pass the outcome to the caller, if it still waits for it."""
    if outcome.done():  # the caller was cancelled
        return
    if problem is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(problem)


_POOLS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Purpose, Pool]] = WeakKeyDictionary()
