"""Threads: bounded, started when needed, gone after shutdown, and never in the way of leaving."""

import subprocess
import sys
import threading

import pytest

from tcsfeel.agent.workers import Workers


def test_no_more_calls_run_at_once_than_there_are_threads() -> None:
    workers = Workers(2)
    gate, entered = threading.Event(), threading.Semaphore(0)

    def wait() -> str:
        entered.release()
        gate.wait(20)
        return threading.current_thread().name

    futures = [workers.submit(wait) for _ in range(6)]
    assert entered.acquire(timeout=20)
    assert entered.acquire(timeout=20)
    assert not entered.acquire(timeout=0.02)
    gate.set()

    assert len({future.result(20) for future in futures}) <= 2
    workers.shutdown()


def test_an_idle_thread_is_used_again() -> None:
    workers = Workers(8)

    names = set()
    for _ in range(20):
        names.add(workers.submit(lambda: threading.current_thread().name).result(20))

    assert len(names) == 1
    workers.shutdown()


def test_an_error_goes_to_whoever_waits_and_the_thread_lives_on() -> None:
    workers = Workers(1)

    with pytest.raises(SystemExit):
        workers.submit(sys.exit, 1).result(20)

    assert workers.submit(pow, 2, 3).result(20) == 8
    workers.shutdown()


def test_what_was_queued_is_still_done_after_shutdown_but_nothing_more_is_taken() -> None:
    workers = Workers(1)
    gate = threading.Event()
    futures = [workers.submit(gate.wait, 20), workers.submit(gate.is_set)]

    workers.shutdown()
    workers.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        workers.submit(gate.wait)

    gate.set()
    assert [future.result(20) for future in futures] == [True, True]


def test_a_cancelled_call_does_not_run() -> None:
    workers = Workers(1)
    gate = threading.Event()
    ran: list[int] = []
    blocker = workers.submit(gate.wait, 20)
    cancelled, after = workers.submit(ran.append, 1), workers.submit(ran.append, 2)

    assert cancelled.cancel()
    gate.set()
    after.result(20)

    assert blocker.result(20)
    assert ran == [2]
    workers.shutdown()


def test_the_interpreter_leaves_although_a_call_never_returns() -> None:
    program = "import threading, tcsfeel.agent.workers as w; w.Workers(1).submit(threading.Event().wait); print('left')"

    left = subprocess.run(  # noqa: S603  (our own program)
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert left.stdout == "left\n"
