"""A server whose event loop is watched: each hold is found, and nothing else is."""

import asyncio
import time
from pathlib import Path

from benchmarks.beats import BEAT_SECONDS, TOLD_SECONDS, holds, watched

HELD = 0.03  # seconds


def work(seconds: float) -> None:
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


def test_a_hold_is_found_with_the_processor_time_of_the_loop(tmp_path: Path) -> None:
    async def main() -> None:
        await asyncio.sleep(BEAT_SECONDS)
        work(HELD)
        await asyncio.sleep(BEAT_SECONDS)

    file = tmp_path / "holds"
    with file.open("a", buffering=1) as out, watched(out) as runner:
        runner.run(main())
    longest, *_ = holds(file, 0.0, time.time() + 1.0)
    assert longest.seconds >= HELD - BEAT_SECONDS  # a timer may become due so long after the hold began
    assert longest.own >= HELD - BEAT_SECONDS


def test_two_passes_hold_a_timer_that_becomes_due_in_the_first(tmp_path: Path) -> None:
    async def main() -> None:
        await asyncio.sleep(BEAT_SECONDS)
        for _ in range(2):
            work(HELD)
            await asyncio.sleep(0)
        await asyncio.sleep(BEAT_SECONDS)

    file = tmp_path / "holds"
    with file.open("a", buffering=1) as out, watched(out) as runner:
        runner.run(main())
    assert holds(file, 0.0, time.time() + 1.0)[0].own >= 2 * HELD - BEAT_SECONDS


def test_a_loop_that_waits_is_not_held(tmp_path: Path) -> None:
    async def main() -> None:
        await asyncio.sleep(2 * TOLD_SECONDS)

    file = tmp_path / "holds"
    with file.open("a", buffering=1) as out, watched(out) as runner:
        runner.run(main())
    assert [hold for hold in holds(file, 0.0, time.time() + 1.0) if hold.own >= TOLD_SECONDS] == []
