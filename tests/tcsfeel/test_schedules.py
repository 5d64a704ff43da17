"""Values of schedules: worked cases, and what holds for all of them."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsfeel.schedules import ByRound, Cosine, Schedule, Step

ROUNDS = st.integers(1, 1_000_000)
STARTS = st.integers(1, 1000)
VALUES = st.floats(-1e12, 1e12)


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        (Step(init_value=0.8, gamma=0.5, step_size=2), {1: 0.8, 2: 0.8, 3: 0.4, 4: 0.4, 5: 0.2}),
        (Step(init_value=0.8, gamma=0.5, step_size=1, end_value=0.3), {1: 0.8, 2: 0.4, 3: 0.3, 1000: 0.3}),
        (Step(init_value=1.0, gamma=2.0, step_size=1, end_value=5.0), {1: 1.0, 3: 4.0, 4: 5.0, 999_999: 5.0}),
        (Step(init_value=-0.8, gamma=0.5, step_size=1, end_value=-0.3), {1: -0.8, 2: -0.4, 3: -0.3}),
        (Step(init_value=0.8, gamma=0.5, step_size=2, start=10), {1: 0.8, 11: 0.8, 12: 0.4}),
        (Cosine(init_value=0.1, end_value=0.0, rounds=3), {1: 0.1, 2: 0.05, 3: 0.0, 4: 0.0}),
        (Cosine(init_value=0.0, end_value=1.0, rounds=5), {2: (1 - math.cos(math.pi / 4)) / 2, 5: 1.0}),
        (Cosine(init_value=3.0, end_value=1.0, rounds=2, start=7), {1: 3.0, 7: 3.0, 8: 1.0, 9: 1.0}),
        (ByRound(values={30: 0.01, 1: 0.1, 10: 0.05}), {1: 0.1, 9: 0.1, 10: 0.05, 29: 0.05, 30: 0.01, 99: 0.01}),
    ],
)
def test_a_schedule_gives_each_round_its_value(schedule: Schedule, wanted: dict[int, float]) -> None:
    assert {number: schedule.at(number) for number in wanted} == pytest.approx(wanted)


def steps() -> st.SearchStrategy[Step]:
    shrinking = st.builds(Step, init_value=VALUES, gamma=st.floats(1e-9, 1.0), step_size=STARTS, start=STARTS)
    growing = st.builds(
        lambda first, gamma, factor, size: Step(
            init_value=first, gamma=gamma, step_size=size, end_value=first * factor
        ),
        VALUES.filter(bool),
        st.floats(1.001, 1e6),
        st.floats(1.0, 1e6),
        STARTS,
    )
    return shrinking | growing


SCHEDULES: st.SearchStrategy[Schedule] = (
    steps()
    | st.builds(Cosine, init_value=VALUES, end_value=VALUES, rounds=st.integers(2, 1_000_000), start=STARTS)
    | st.builds(ByRound, values=st.dictionaries(ROUNDS, VALUES, max_size=5).map(lambda more: {1: 0.5} | more))
)


@given(schedule=SCHEDULES, number=ROUNDS)
def test_every_value_is_finite_and_lies_between_the_extremes(schedule: Schedule, number: int) -> None:
    low, high = min(schedule.extremes().values()), max(schedule.extremes().values())
    assert math.isfinite(schedule.at(number))
    assert low <= schedule.at(number) <= high


@given(
    schedule=steps() | st.builds(Cosine, init_value=VALUES, end_value=VALUES, rounds=st.integers(2, 999)),
    a=ROUNDS,
    b=ROUNDS,
)
def test_what_falls_does_not_rise_again(schedule: Step | Cosine, a: int, b: int) -> None:
    first, later = schedule.at(min(a, b)), schedule.at(max(a, b))
    last = schedule.at(10_000_000)
    assert abs(last - later) <= abs(last - first)


@given(first=VALUES, last=VALUES, rounds=st.integers(2, 1_000_000), start=STARTS)
def test_a_cosine_has_exactly_its_ends(first: float, last: float, rounds: int, start: int) -> None:
    schedule = Cosine(init_value=first, end_value=last, rounds=rounds, start=start)
    assert (schedule.at(start), schedule.at(start + rounds - 1)) == (first, last)


def test_a_positive_value_that_is_halved_for_ever_stays_positive() -> None:
    assert Step(init_value=1.0, gamma=0.5, step_size=1).at(1_000_000) > 0.0
    assert Step(init_value=0.0, gamma=0.5, step_size=1).at(9) == 0.0


def test_the_rounds_of_a_schedule_may_be_texts_as_in_json() -> None:
    assert ByRound(values=json.loads('{"1": 5.0, "12": 0.25}')) == ByRound(values={1: 5.0, 12: 0.25})
