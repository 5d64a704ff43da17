import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.verdicts import Verdict, judge

WAITING = {"goal": 4, "quorum": 2, "deadline": 100.0, "grace_seconds": 10.0}


@pytest.mark.parametrize(
    ("now", "arrivals", "outstanding", "verdict"),
    [
        # below the quorum: until the deadline, and no further
        (0.0, [], 5, Verdict("wait", 100.0)),
        (50.0, [1.0], 4, Verdict("wait", 100.0)),
        (99.9, [1.0], 4, Verdict("wait", 100.0)),
        (100.0, [1.0], 4, Verdict("abandon")),
        # the quorum is in: ten seconds more, from the arrival that completed it, whatever the order they are told in
        (21.0, [20.0, 5.0], 3, Verdict("wait", 30.0)),
        (29.9, [5.0, 20.0, 25.0], 2, Verdict("wait", 30.0)),  # the third does not prolong it
        (30.0, [5.0, 20.0], 3, Verdict("proceed")),
        (96.0, [5.0, 95.0], 3, Verdict("wait", 100.0)),  # never beyond the deadline
        (100.0, [5.0, 95.0], 3, Verdict("proceed")),
        # the goal is in: at once
        (3.0, [1.0, 1.0, 2.0, 3.0], 1, Verdict("proceed")),
        # nothing more can come: no use waiting
        (3.0, [1.0], 0, Verdict("abandon")),
        (3.0, [1.0, 2.0], 0, Verdict("proceed")),
        (3.0, [], 0, Verdict("abandon")),
        # after the deadline, as a replica that takes over late finds it
        (500.0, [1.0, 2.0], 3, Verdict("proceed")),
        (500.0, [1.0], 3, Verdict("abandon")),
    ],
)
def test_when_a_round_has_enough_answers(now: float, arrivals: list[float], outstanding: int, verdict: Verdict) -> None:
    assert judge(now=now, arrivals=arrivals, outstanding=outstanding, **WAITING) == verdict  # type: ignore[arg-type]  # goal and quorum are ints


def test_without_grace_the_quorum_is_enough() -> None:
    kind = judge(now=2.0, arrivals=[2.0], outstanding=9, goal=10, quorum=1, deadline=100.0, grace_seconds=0.0)
    assert kind == Verdict("proceed")


@pytest.mark.parametrize(
    ("now", "arrivals", "verdict"),
    [
        (20.0, [1.0, 2.0], Verdict("wait", 100.0)),  # the quorum is no early end
        (20.0, [1.0, 2.0, 15.0], Verdict("wait", 25.0)),
        (25.0, [1.0, 2.0, 15.0], Verdict("proceed")),
        (100.0, [1.0, 2.0], Verdict("proceed")),  # at the deadline the quorum is enough
        (100.0, [1.0], Verdict("abandon")),
    ],
)
def test_an_early_end_may_take_more_answers_than_the_deadline(
    now: float, arrivals: list[float], verdict: Verdict
) -> None:
    found = judge(
        now=now, arrivals=arrivals, outstanding=3, goal=5, quorum=2, early=3, deadline=100.0, grace_seconds=10.0
    )
    assert found == verdict


@given(
    st.floats(0, 200), st.lists(st.floats(0, 100), max_size=6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6)
)
def test_a_verdict_to_wait_is_always_for_something_that_comes(
    now: float, arrivals: list[float], outstanding: int, goal: int, quorum: int
) -> None:
    arrivals = [moment for moment in arrivals if moment <= now]
    verdict = judge(
        now=now, arrivals=arrivals, outstanding=outstanding, goal=goal, quorum=min(goal, quorum), deadline=100.0,
        grace_seconds=10.0,
    )  # fmt: skip
    if verdict.action == "wait":
        assert now < verdict.until <= 100.0
        assert outstanding > 0
    else:
        assert verdict.until == math.inf
        assert (verdict.action == "proceed") == (len(arrivals) >= min(goal, quorum))
