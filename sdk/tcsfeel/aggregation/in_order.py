"""Compute parts of a model in several threads, and give them in their order.

numpy lets other threads run while it computes. One thread alone cannot read memory as fast as the machine allows.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

MOST_THREADS = 4


def usual_threads() -> int:
    """Return how many threads compute one model on this machine."""
    return min(MOST_THREADS, os.cpu_count() or 1)


def in_order(jobs: Iterator[Job], work: Callable[[Job], Result], threads: int) -> Iterator[Result]:
    """Yield the result of each job, in the order of the jobs. Threads do a few of the next jobs meanwhile.

    If a job fails, its error is raised in its place, and the jobs after it do not count.
    """
    first = list(islice(jobs, 2))
    if threads == 1 or len(first) == 1:
        yield from map(work, chain(first, jobs))
        return
    ahead: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="aggregation") as pool:
        try:
            for job in chain(first, jobs):
                ahead.append(pool.submit(work, job))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for left in ahead:
                left.cancel()
