"""What was written down before the clock was set back does not hold anything up."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.breaker import Breaker
from app.domain.instants import TOLERANCE_SECONDS, lies_ahead
from app.domain.patience import believed
from app.domain.rounds import Round

NOW = 1_000_000.0
HOUR = 3600.0
RNG = random.Random(7)  # noqa: S311  (jitter, not secrets)


@pytest.mark.parametrize(
    ("began", "ahead"),
    [(None, False), (NOW - HOUR, False), (NOW, False), (NOW + TOLERANCE_SECONDS, False), (NOW + 1.1, True)],
)
def test_what_begins_in_the_future_has_not_begun(began: float | None, *, ahead: bool) -> None:
    assert lies_ahead(began, NOW) == ahead


def opened(now: float) -> Breaker:
    breaker = Breaker()
    for _ in range(3):
        breaker = breaker.fail(now, RNG)
    assert breaker.state == "open"
    return breaker


@given(st.floats(-1e8, 1e8))
def test_a_breaker_opens_its_door_within_its_own_time_however_the_clock_is_set(step: float) -> None:
    breaker = opened(NOW)
    assert breaker.retry_at is not None
    length = breaker.retry_at - NOW
    assert breaker.would_admit(NOW + step + length + 2 * TOLERANCE_SECONDS) or 0 <= -step <= 2 * length
    assert any(breaker.would_admit(NOW + step + passed) for passed in (0.0, length + 2 * TOLERANCE_SECONDS))


@given(st.floats(-1e8, 1e8))
def test_a_permit_is_held_no_longer_than_its_probe_may_take_however_the_clock_is_set(step: float) -> None:
    probing = opened(NOW).admit(NOW + 1000, 60.0)
    assert probing is not None
    assert not probing.would_admit(NOW + 1030)
    at = NOW + 1000 + step
    assert any(probing.would_admit(at + passed) for passed in (0.0, 60.0 + 2 * TOLERANCE_SECONDS))


def test_a_breaker_that_was_isolated_by_hand_stays_so() -> None:
    assert not Breaker().isolate(NOW).would_admit(NOW - HOUR)


def test_a_round_that_was_begun_by_another_clock_ends_in_its_own_time() -> None:
    round_ = Round(training_id="t", number=1, status="training", seed=0, started_at=NOW, deadline_at=NOW + 600)
    assert believed(round_, 600, NOW + 1) is round_
    assert believed(round_, 600, NOW + HOUR) is round_
    assert believed(round_, 600, NOW - HOUR) == replace(round_, deadline_at=NOW - HOUR + 600)
    waiting = replace(round_, waiting_since=NOW)
    assert believed(waiting, 600, NOW - HOUR) == replace(
        waiting, deadline_at=NOW - HOUR + 600, waiting_since=NOW - HOUR
    )
    far = replace(round_, waiting_since=NOW + 100)
    assert believed(far, 600, NOW) == replace(far, waiting_since=NOW), "no wait begins in the future"
