"""The machine's clock, when the database's has more say; and the one that tests move."""

import asyncio
import time

from app.clock import SystemClock
from tests.clocks import FakeClock


def test_a_machine_that_runs_ahead_agrees_with_the_database() -> None:
    clock = SystemClock()
    clock.adopt(time.time() - 300.0)
    assert abs(clock.now() - (time.time() - 300.0)) < 1.0


def test_a_difference_that_a_look_at_the_clock_explains_changes_nothing() -> None:
    clock = SystemClock()
    clock.adopt(time.time() + 0.02)
    assert abs(clock.now() - time.time()) < 0.01


async def test_a_sleep_on_the_fake_clock_begins_when_it_is_asked_for() -> None:
    clock = FakeClock()
    sleeping = asyncio.create_task(clock.sleep(5.0))  # which has not had its first turn yet
    clock.advance(4.9)
    await asyncio.sleep(0)
    assert not sleeping.done()
    clock.advance(0.2)
    async with asyncio.timeout(30.0):
        await sleeping
