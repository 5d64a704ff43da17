"""Work in threads: one purpose does not stop another, nor one party another."""

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import pytest

from app.sharing import party
from app.threads import THREADS, OneThread, Pool, in_thread, in_thread_to_its_end

PATIENCE = 60.0  # seconds, for machines that are busy with something else


@contextmanager
def hanging() -> Iterator[Callable[[], bool]]:
    """A function that hangs until the test is over."""
    over = threading.Event()
    try:
        yield over.wait
    finally:
        over.set()


async def test_a_function_is_called_in_a_thread_of_its_purpose_with_the_context_of_the_caller() -> None:
    seen: ContextVar[str] = ContextVar("seen")
    seen.set("the caller's")

    def work(left: int, *, right: int) -> tuple[str, str, int]:
        return threading.current_thread().name, seen.get(), left + right

    assert await in_thread("checks", work, 1, right=2) == ("tcsfeel-checks", "the caller's", 3)


async def test_errors_are_the_callers_and_none_of_them_ends_the_event_loop() -> None:
    def fail() -> None:
        raise KeyError("y")

    with pytest.raises(KeyError, match="y"):
        await in_thread("files", fail)

    class Panic(BaseException):
        """As extensions in Rust raise it."""

    def panic() -> None:
        raise Panic

    with pytest.raises(Panic):
        await in_thread("files", panic)
    with pytest.raises(RuntimeError, match="SystemExit in a thread"):
        await in_thread("files", sys.exit)
    with pytest.raises(RuntimeError, match="StopIteration in a thread"):
        await in_thread("files", next, iter(()))


async def test_a_purpose_whose_threads_all_hang_stops_no_other() -> None:
    with hanging() as hang:
        stuck = []
        for number in range(THREADS["files"]):
            with party(str(number)):
                stuck.append(asyncio.create_task(in_thread("files", hang)))
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            assert await in_thread("checks", int) == 0
        assert not any(task.done() for task in stuck)
    await asyncio.gather(*stuck)


async def test_a_party_whose_strategy_hangs_stops_no_other_party() -> None:
    with hanging() as hang:
        with party("a"):
            stuck = [asyncio.create_task(in_thread("selection", hang)) for _ in range(2 * THREADS["selection"])]
        await asyncio.sleep(0)
        with party("b"):
            async with asyncio.timeout(30):
                assert await in_thread("selection", int) == 0
        assert not any(task.done() for task in stuck)
    await asyncio.gather(*stuck)


async def test_a_thread_keeps_its_place_until_it_ends_though_its_caller_has_gone() -> None:
    begun, order = threading.Barrier(THREADS["matrices"] + 1), list[str]()
    with hanging() as hang:

        def work() -> None:
            begun.wait(30)
            hang()
            order.append("hung")

        calls = [asyncio.create_task(in_thread("matrices", work)) for _ in range(THREADS["matrices"])]
        await in_thread("files", begun.wait, 30)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        another = asyncio.create_task(in_thread("matrices", order.append, "after them"))
        await asyncio.sleep(0)
    await another
    assert order[0] == "hung"


async def test_threads_are_used_again_and_keep_nothing_alive() -> None:
    class Large:
        pass

    async with asyncio.timeout(30):
        names = {id(await in_thread("matrices", threading.current_thread)) for _ in range(20)}
        assert len(names) <= 2  # of two, if one had not come to rest yet when it was wanted again
        await in_thread("matrices", id, Large())
        await in_thread("matrices", int)
        await in_thread("matrices", int)
        gc.collect()
        assert not [thing for thing in gc.get_objects() if isinstance(thing, Large)]


async def test_idle_threads_end() -> None:
    pool = Pool("matrices", idle_seconds=0.001)
    worker = await pool.run(threading.current_thread)
    worker.join(30)
    assert not worker.is_alive()
    assert await pool.run(int) == 0


async def test_one_thread_calls_what_it_is_given_in_order_and_also_for_a_caller_that_is_cancelled() -> None:
    thread = OneThread("one")
    order: list[tuple[str, str]] = []

    def note(what: str) -> str:
        order.append((what, threading.current_thread().name))
        return what

    with hanging() as hang:
        first = asyncio.create_task(thread.run(hang))
        second = asyncio.create_task(thread.run(partial(note, "second")))
        third = asyncio.create_task(thread.run(partial(note, "third")))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
    await first
    assert await third == "third"
    assert order == [("second", "one"), ("third", "one")]
    thread.end()


async def test_an_error_in_one_thread_is_the_callers() -> None:
    thread = OneThread("one")
    with pytest.raises(KeyError, match="y"):
        await thread.run(partial(dict[str, int]().__getitem__, "y"))
    with pytest.raises(RuntimeError, match="StopIteration in a thread"):
        await thread.run(partial(next, iter(())))
    assert await thread.run(lambda: 1) == 1
    thread.end()


async def test_one_thread_that_was_ended_refuses_more() -> None:
    thread, last = OneThread("ended"), threading.Event()
    await thread.run(lambda: None)
    (running,) = (one for one in threading.enumerate() if one.name == "ended")
    thread.end(last.set)
    running.join(10)
    assert last.is_set()
    assert not running.is_alive()
    with pytest.raises(RuntimeError, match="the thread ended has ended"):
        await thread.run(lambda: None)


async def test_one_thread_ends_with_the_last_reference_to_it() -> None:
    thread = OneThread("forgotten")
    await thread.run(lambda: None)
    (running,) = (one for one in threading.enumerate() if one.name == "forgotten")
    del thread
    gc.collect()
    running.join(10)
    assert not running.is_alive()


@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_caller_that_is_cancelled_may_leave_when_its_function_has_ended(crowded: bool, fails: bool) -> None:
    go_on, ended = threading.Event(), False

    def work() -> None:
        nonlocal ended
        go_on.wait(PATIENCE)
        ended = True
        if fails:
            raise ZeroDivisionError

    others = [asyncio.create_task(in_thread("files", go_on.wait, PATIENCE)) for _ in range(THREADS["files"] * crowded)]
    await asyncio.sleep(0)
    caller = asyncio.create_task(in_thread_to_its_end("files", work))
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended
    await asyncio.gather(*others)


async def test_what_runs_to_its_end_returns_and_raises() -> None:
    assert await in_thread_to_its_end("files", divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread_to_its_end("files", divmod, 7, 0)
