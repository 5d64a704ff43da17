"""The time that rounds are given back, and when they are given up."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.patience import (
    MAX_STEP_FAILURES,
    MAX_TAKEOVERS,
    SHORTEST_LIMIT_SECONDS,
    after_waiting,
    hopeless,
    kills_its_owners,
    prolonged,
    waited,
)
from app.domain.rounds import Round
from app.domain.trainings import RoundPolicy

ROUND = Round(training_id="t", number=1, status="selecting", seed=0, started_at=0.0, deadline_at=600.0)


@pytest.mark.parametrize(("now", "seconds"), [(100.0, 7.0), (105.0, 12.0), (90.0, 7.0)])
def test_a_wait_that_goes_on_counts_up_to_now_and_never_backwards(now: float, seconds: float) -> None:
    assert waited(replace(ROUND, waited_seconds=7.0, waiting_since=100.0), now) == seconds
    assert waited(replace(ROUND, waited_seconds=7.0), now) == 7.0


@pytest.mark.parametrize(("now", "seconds"), [(105.0, 5.0), (100.0, 0.0), (90.0, 0.0)])
def test_the_deadline_moves_by_the_time_of_a_wait(now: float, seconds: float) -> None:
    waiting = replace(ROUND, waited_seconds=7.0, waiting_since=100.0)
    assert after_waiting(waiting, now) == replace(ROUND, deadline_at=600.0 + seconds, waited_seconds=7.0 + seconds)
    assert after_waiting(ROUND, now) is ROUND


@pytest.mark.parametrize(
    ("since", "seconds", "ours", "changes"),
    [
        (None, 2.5, False, {"deadline_at": 602.5}),
        (None, 0.5, False, {"deadline_at": 600.5}),
        (None, 2.5, True, {"deadline_at": 602.5, "waited_seconds": 9.5}),
        (100.0, 2.5, False, {"deadline_at": 602.5, "waiting_since": 102.5}),
        (100.0, 2.5, True, {}),
        (None, 0.0, True, {}),
        (None, -1.0, False, {}),
        (None, -1.0, True, {}),
    ],
    ids=[
        "a pause",
        "a short pause",
        "a problem",
        "a pause in a wait",
        "a problem in a wait",
        "no time",
        "set back",
        "ours, set back",
    ],
)
def test_a_round_is_given_the_time_that_it_stood_still(
    since: float | None, seconds: float, ours: bool, changes: dict[str, Any]
) -> None:
    round_ = replace(ROUND, waited_seconds=7.0, waiting_since=since)
    assert prolonged(round_, seconds, ours=ours) == replace(round_, **changes)


def test_time_that_a_round_is_given_back_is_a_pause_unless_the_server_is_to_blame() -> None:
    assert prolonged(ROUND, 2.5) == prolonged(ROUND, 2.5, ours=False)


@pytest.mark.parametrize(
    ("failures", "reason"),
    [(0, None), (MAX_STEP_FAILURES - 1, None), (MAX_STEP_FAILURES, "the server failed 3 times")],
)
def test_a_step_is_tried_a_few_times(failures: int, reason: str | None) -> None:
    failed = replace(ROUND, status="aggregating", step_failures=failures)
    told = None if reason is None else f"{reason} while the round was aggregating: KeyError"
    assert hopeless(RoundPolicy(), failed, "KeyError", 0.0) == told


@pytest.mark.parametrize(
    ("max_wait", "given_back", "lost", "seconds"),
    [
        (100.0, 40.0, 59.0, None),
        (100.0, 40.0, 60.0, "100"),
        (0.0, 0.0, SHORTEST_LIMIT_SECONDS - 1, None),
        (0.0, 0.0, SHORTEST_LIMIT_SECONDS, "60"),
    ],
    ids=["within its limit", "at its limit", "within the shortest limit", "at the shortest limit"],
)
def test_a_round_is_given_up_after_the_time_that_it_may_wait(
    max_wait: float, given_back: float, lost: float, seconds: str | None
) -> None:
    round_ = replace(ROUND, status="training", waited_seconds=given_back)
    told = None if seconds is None else f"the round made no progress for {seconds} s while it was training: no space"
    assert hopeless(RoundPolicy(max_wait_seconds=max_wait), round_, "no space", lost) == told


@pytest.mark.parametrize(("takeovers", "kills"), [(0, False), (MAX_TAKEOVERS - 1, False), (MAX_TAKEOVERS, True)])
def test_a_round_that_kills_its_owners_is_told_by_their_number(takeovers: int, kills: bool) -> None:
    assert kills_its_owners(replace(ROUND, takeovers=takeovers)) is kills
