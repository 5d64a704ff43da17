"""The machine's clock, when the database's has more say."""

import time

from app.clock import SystemClock


def test_a_machine_that_runs_ahead_agrees_with_the_database() -> None:
    clock = SystemClock()
    clock.adopt(time.time() - 300.0)
    assert abs(clock.now() - (time.time() - 300.0)) < 1.0


def test_a_difference_that_a_look_at_the_clock_explains_changes_nothing() -> None:
    clock = SystemClock()
    clock.adopt(time.time() + 0.02)
    assert abs(clock.now() - time.time()) < 0.01
