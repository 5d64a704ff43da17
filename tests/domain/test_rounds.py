"""The round's state machine, and when a round has enough answers."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import IllegalTransition
from app.domain.rounds import (
    ENDED,
    OUTSTANDING,
    TRANSITIONS,
    Participation,
    RoundEvent,
    RoundStatus,
    convergence_speed,
    evaluation_seconds,
    goal_count,
    next_round,
    next_status,
    of_round,
    quorum_count,
    too_few_updates,
)
from app.domain.trainings import RoundPolicy, Training, TrainingConfig, Uploads
from tcsfeel.aggregation.goals import Goal
from tcsfeel.schedules import ByRound
from tcsfeel.text import LONGEST

MOVES: dict[RoundStatus, dict[RoundEvent, RoundStatus]] = {
    "selecting": {"planned": "training", "abandoned": "abandoned"},
    "training": {"frozen": "aggregating", "abandoned": "abandoned"},
    "aggregating": {"committed": "evaluating", "abandoned": "abandoned"},
    "evaluating": {"measured": "completed"},
    "completed": {},
    "abandoned": {},
}


@pytest.mark.parametrize("event", get_args(RoundEvent))
@pytest.mark.parametrize("status", get_args(RoundStatus))
def test_a_round_moves_as_the_table_says_and_no_other_way(status: RoundStatus, event: RoundEvent) -> None:
    wanted = MOVES[status].get(event)
    if wanted is not None:
        assert next_status(status, event) == wanted
        return
    with pytest.raises(IllegalTransition) as caught:
        next_status(status, event)
    assert (caught.value.status, caught.value.event) == (status, event)


def test_a_round_ends_where_no_arrow_leads_on() -> None:
    assert set(get_args(RoundStatus)) - {status for status, _ in TRANSITIONS} == ENDED


def walk(status: RoundStatus) -> set[tuple[RoundStatus, ...]]:
    arrows = [after for (before, _), after in TRANSITIONS.items() if before == status]
    return {(status, *rest) for after in arrows for rest in walk(after)} or {(status,)}


def test_every_way_through_a_round() -> None:
    assert walk("selecting") == {
        ("selecting", "training", "aggregating", "evaluating", "completed"),
        ("selecting", "abandoned"),
        ("selecting", "training", "abandoned"),
        ("selecting", "training", "aggregating", "abandoned"),
    }


TRAINING = Training(
    id="t",
    config=TrainingConfig(name="t", seed=7, round_policy=RoundPolicy(deadline_seconds=60.0)),
    created_at=0.0,
    updated_at=0.0,
    current_round=2,
)


def test_the_next_round_follows_from_the_training_alone() -> None:
    training, first = next_round(TRAINING, 100.0)
    assert training == replace(TRAINING, current_round=3, updated_at=100.0)
    assert (first.training_id, first.number, first.status) == ("t", 3, "selecting")
    assert (first.started_at, first.deadline_at) == (100.0, 160.0)
    assert next_round(TRAINING, 100.0) == (training, first)
    assert next_round(TRAINING, 5000.0)[1].seed == first.seed  # at any time


def test_every_round_and_every_training_seed_draws_differently() -> None:
    seeds = set()
    for seed in (0, 1, 7, 2**53 - 1):
        for number in range(50):
            config = replace(TRAINING.config, seed=seed)
            seeds.add(next_round(replace(TRAINING, config=config, current_round=number), 0.0)[1].seed)
    assert len(seeds) == 200
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_selected_clients_are_those_that_take_part_in_their_order() -> None:
    _, round_ = next_round(TRAINING, 0.0)
    assert round_.selected_clients == ()
    parts = (Participation(client_id="b"), Participation(client_id="a"))
    evaluations = (Participation(client_id="c", kind="evaluate"),)
    both = replace(round_, participations=parts, evaluations=evaluations)
    assert both.selected_clients == ("b", "a")
    assert both.parts == parts + evaluations


SCHEDULED = replace(
    TRAINING.config,
    hyperparameters={"momentum": 0.5},
    uploads=Uploads(encoding="int8", compression="zstd"),
    schedules={
        "hyperparameters.learning_rate": ByRound(values={1: 0.8, 3: 0.4}),
        "round_policy.deadline_seconds": ByRound(values={1: 60.0, 3: 90.0}),
    },
)


def test_a_round_keeps_the_values_with_which_it_began() -> None:
    _, third = next_round(replace(TRAINING, config=SCHEDULED), 100.0)
    assert third.hyperparameters == {"momentum": 0.5, "learning_rate": 0.4}
    assert (third.deadline_seconds, third.deadline_at) == (90.0, 190.0)
    assert third.update_encoding == "int8"


def test_a_round_goes_on_with_its_own_values_after_a_user_has_changed_them() -> None:
    _, third = next_round(replace(TRAINING, config=SCHEDULED), 100.0)
    assert third.hyperparameters is not None
    changed = replace(
        SCHEDULED,
        hyperparameters={"momentum": 0.9},
        round_policy=RoundPolicy(quorum=0.3, deadline_seconds=5.0),
        uploads=Uploads(encoding="full", compression="none"),
        schedules={},
    )
    assert of_round(changed, third) == replace(
        changed,
        hyperparameters=third.hyperparameters,
        round_policy=RoundPolicy(quorum=0.3, deadline_seconds=90.0),
        uploads=Uploads(encoding="int8", compression="none"),
    )


def test_a_round_that_kept_no_values_has_those_of_its_training() -> None:
    _, third = next_round(replace(TRAINING, config=SCHEDULED), 100.0)
    now = SCHEDULED.in_round(3)
    old = replace(third, hyperparameters=None, deadline_seconds=None, update_encoding=None)
    assert of_round(SCHEDULED, old) == now
    for half in (replace(old, hyperparameters={"momentum": 0.1}), replace(old, deadline_seconds=7.0)):
        assert of_round(SCHEDULED, half) == now


@pytest.mark.parametrize(
    ("deadline", "seconds"), [(10.0, 2.0), (150.0, 30.0), (600.0, 30.0)]
)  # a fifth, half a minute at most
def test_evaluation_has_its_share_of_a_rounds_time(deadline: float, seconds: float) -> None:
    assert evaluation_seconds(RoundPolicy(deadline_seconds=deadline)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("selected", "over", "share", "goal", "quorum"),
    [
        (10, 1.0, 0.6, 10, 6),
        (30, 1.0, 0.6, 30, 18),
        (13, 1.3, 0.6, 10, 8),  # 7.8 of 13
        (39, 1.3, 0.6, 30, 24),  # 23.4
        (13, 1.3, 1.0, 10, 10),  # never more than the goal
        (5, 1.0, 0.2, 5, 1),  # exactly 1
        (3, 1.0, 0.1, 3, 1),
        (1, 1.0, 0.6, 1, 1),
        (1, 3.0, 0.6, 1, 1),  # a third of one is one
        (10, 1.0, 0.7, 10, 7),  # 0.7 * 10 is a little over 7 in floats
    ],
)
def test_how_many_updates_are_enough_and_how_many_are_needed(
    selected: int, over: float, share: float, goal: int, quorum: int
) -> None:
    policy = RoundPolicy(over_selection=over, quorum=share)
    assert (goal_count(selected, policy), quorum_count(selected, policy)) == (goal, quorum)


@given(st.integers(1, 1000), st.floats(1.0, 10.0), st.floats(0.01, 1.0))
def test_the_quorum_is_at_least_one_and_at_most_the_goal_which_is_at_most_everybody(
    selected: int, over: float, share: float
) -> None:
    policy = RoundPolicy(over_selection=over, quorum=share)
    assert 1 <= quorum_count(selected, policy) <= goal_count(selected, policy) <= selected


@pytest.mark.parametrize(
    ("accuracy", "ended_at", "accuracy_before", "ended_before", "speed"),
    [
        (0.75, 120.0, 0.5, 70.0, 0.005),  # 0.25 in 50 s
        (0.5, 120.0, 0.75, 70.0, -0.005),
        (0.5, 120.0, 0.5, 70.0, 0.0),
        (None, 120.0, 0.5, 70.0, None),
        (0.5, 120.0, None, 70.0, None),
        (0.5, 120.0, 0.5, None, None),
        (0.5, 120.0, 0.25, 120.0, None),  # no time went by
        (0.5, 120.0, 0.25, 130.0, None),  # a clock that was set back
    ],
)
def test_convergence_speed_is_what_is_gained_per_second(
    accuracy: float | None,
    ended_at: float,
    accuracy_before: float | None,
    ended_before: float | None,
    speed: float | None,
) -> None:
    found = convergence_speed(Goal(), accuracy, ended_at, accuracy_before, ended_before)
    assert found == (None if speed is None else pytest.approx(speed))


def test_a_metric_that_falls_converges_where_it_is_to_fall() -> None:
    assert convergence_speed(Goal(metric="rmse", mode="min"), 1.0, 120.0, 6.0, 70.0) == pytest.approx(0.1)


def test_a_participation_is_outstanding_until_it_is_final() -> None:
    assert {"pending", "training"} == OUTSTANDING


def test_a_reason_that_quotes_an_agent_is_shown_in_one_line_of_limited_length() -> None:
    part = Participation(client_id="a", status="failed", reason="its trainer failed:\n\x1b[31m" + "x" * 10**6)
    reason = str(part.shown().reason)
    assert part.shown() == replace(part, reason=reason)
    assert reason.startswith("its trainer failed: ")
    assert (reason.isprintable(), len(reason)) == (True, LONGEST)
    assert Participation(client_id="a").shown().reason is None


def test_a_round_below_its_quorum_says_who_failed_and_why() -> None:
    parts = [
        Participation(client_id="c", status="received"),
        Participation(client_id="b", status="failed", reason="its trainer failed: disk on fire"),
        Participation(client_id="a", status="training"),
    ]
    assert too_few_updates(parts, 2) == (
        "1 of 3 updates came in, the quorum is 2; a: it has not answered; b: its trainer failed: disk on fire"
    )
