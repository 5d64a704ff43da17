"""The threads in which agents train.

A thread cannot be killed, and `concurrent.futures.ThreadPoolExecutor` makes the interpreter wait for its threads: an
agent told to stop would hang until a long training ended. These threads are daemons, so the process may leave.
"""

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


class Workers(Executor):
    """At most `threads` daemon threads (by default one a CPU), each started when first needed."""

    def __init__(self, threads: int | None = None) -> None:
        self._limit = threads or os.cpu_count() or 1
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._started = 0
        self._closed = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queue a call. Raises RuntimeError after `shutdown`."""
        future: Future[R] = Future()

        def job() -> None:
            wanted = future.set_running_or_notify_cancel()
            try:
                result = fn(*args, **kwargs) if wanted else None
            except BaseException as error:  # noqa: BLE001  (the future carries it to the waiting task)
                self._idle.release()
                future.set_exception(error)
            else:
                self._idle.release()  # before a caller gets the result and submits the next job
                if wanted:
                    future.set_result(cast("R", result))

        with self._lock:
            if self._closed:
                raise RuntimeError("the workers were shut down")
            self._jobs.put(job)
            if not self._idle.acquire(blocking=False) and self._started < self._limit:
                self._started += 1
                threading.Thread(target=self._work, name=f"trainer-{self._started}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more jobs. Each thread ends after the queued jobs. This never waits, whatever the arguments are."""
        del wait, cancel_futures
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in range(self._started):
                    self._jobs.put(None)

    def _work(self) -> None:
        while True:
            job: Any = self._jobs.get()
            if job is None:
                return
            job()
            del job  # otherwise the last model would stay in memory until the next one arrives
