"""The states of a training, and what the end of a round means for it."""

from dataclasses import replace
from typing import get_args

import pytest

from app.domain.errors import StateForbids
from app.domain.trainings import (
    FINAL,
    TRANSITIONS,
    Ending,
    RoundPolicy,
    Scalar,
    Training,
    TrainingConfig,
    TrainingEvent,
    TrainingStatus,
    after_round,
    ending,
    next_status,
    pause_after_failures,
)

MOVES: dict[TrainingStatus, dict[TrainingEvent, TrainingStatus]] = {
    "created": {"start": "running", "resume": "running", "run one round of": "running", "cancel": "cancelled"},
    "paused": {"start": "running", "resume": "running", "run one round of": "running", "cancel": "cancelled"},
    "running": {"pause": "paused", "rest": "paused", "cancel": "cancelled", "complete": "completed", "fail": "failed"},
    "completed": {},
    "failed": {},
    "cancelled": {},
}


@pytest.mark.parametrize("event", get_args(TrainingEvent))
@pytest.mark.parametrize("status", get_args(TrainingStatus))
def test_a_training_moves_as_the_table_says_and_no_other_way(status: TrainingStatus, event: TrainingEvent) -> None:
    wanted = MOVES[status].get(event)
    if wanted is not None:
        assert next_status(status, event) == wanted
        return
    with pytest.raises(StateForbids, match=f"^cannot {event} a training that is {status}$") as caught:
        next_status(status, event)
    assert (caught.value.action, caught.value.kind, caught.value.state) == (event, "training", status)


def test_every_status_can_be_reached_and_the_last_ones_are_final() -> None:
    assert {"created", *TRANSITIONS.values()} == set(get_args(TrainingStatus))
    assert set(get_args(TrainingStatus)) - {status for status, _ in TRANSITIONS} == FINAL


CONFIG = TrainingConfig(name="t", target_accuracy=0.9, max_rounds=5, round_policy=RoundPolicy(max_failed_rounds=3))
TRAINING = Training(id="t", config=CONFIG, created_at=0.0, updated_at=0.0, status="running", current_round=2)


@pytest.mark.parametrize(
    ("training", "accuracy", "failed_in_row", "expected"),
    [
        (TRAINING, 0.5, 0, None),
        (TRAINING, None, 2, None),
        (TRAINING, 0.9, 0, Ending("complete", "target_accuracy")),  # reached, not only passed
        (TRAINING, 0.8999, 0, None),
        (TRAINING, None, 3, Ending("fail", "too_many_failed_rounds")),
        (replace(TRAINING, current_round=5), 0.5, 0, Ending("complete", "max_rounds")),
        (replace(TRAINING, current_round=5), 0.9, 0, Ending("complete", "target_accuracy")),
        (replace(TRAINING, current_round=5), None, 3, Ending("fail", "too_many_failed_rounds")),
        (replace(TRAINING, current_round=4), 0.5, 0, None),
        (replace(TRAINING, stop_after=2), 0.5, 0, Ending("rest")),
        (replace(TRAINING, stop_after=2), 0.95, 0, Ending("complete", "target_accuracy")),
        (replace(TRAINING, stop_after=2), None, 3, Ending("rest")),  # whoever asks for single rounds sees them fail
        (replace(TRAINING, stop_after=5, current_round=5), 0.5, 0, Ending("rest")),
    ],
)
def test_what_the_end_of_a_round_means(
    training: Training, accuracy: float | None, failed_in_row: int, expected: Ending | None
) -> None:
    assert ending(training, accuracy=accuracy, failed_in_row=failed_in_row) == expected


def test_a_training_goes_on_with_what_its_round_measured() -> None:
    after = after_round(TRAINING, completed=True, accuracy=0.5, reason=None, now=7.0)
    assert after == replace(TRAINING, accuracy=0.5, best_accuracy=0.5, next_round_at=7.0, updated_at=7.0)
    worse = after_round(after, completed=True, accuracy=0.4, reason=None, now=8.0)
    assert worse == replace(after, accuracy=0.4, next_round_at=8.0, updated_at=8.0)
    assert after_round(worse, completed=True, accuracy=None, reason=None, now=8.0) == worse


def test_an_abandoned_round_is_followed_by_a_pause_until_one_completes() -> None:
    known = replace(TRAINING, accuracy=0.4, best_accuracy=0.5)
    once = after_round(known, completed=False, accuracy=None, reason="too late", now=7.0)
    assert once == replace(known, failed_in_row=1, next_round_at=8.0, updated_at=7.0)
    twice = after_round(once, completed=False, accuracy=None, reason="too late", now=9.0)
    assert twice == replace(known, failed_in_row=2, next_round_at=11.0, updated_at=9.0)
    assert after_round(twice, completed=True, accuracy=None, reason=None, now=11.0).failed_in_row == 0


def test_a_training_ends_with_its_reason() -> None:
    done = after_round(TRAINING, completed=True, accuracy=0.9, reason=None, now=7.0)
    assert (done.status, done.stop_reason, done.stop_detail, done.paused_at) == (
        "completed",
        "target_accuracy",
        None,
        None,
    )
    failing = replace(TRAINING, failed_in_row=2)
    failed = after_round(failing, completed=False, accuracy=None, reason="too late", now=7.0)
    assert (failed.status, failed.stop_reason, failed.stop_detail) == ("failed", "too_many_failed_rounds", "too late")


def test_a_training_rests_after_a_round_that_was_asked_for_singly() -> None:
    resting = after_round(replace(TRAINING, stop_after=2), completed=True, accuracy=0.5, reason=None, now=7.0)
    assert (resting.status, resting.stop_reason, resting.stop_after, resting.paused_at) == ("paused", None, None, 7.0)


@pytest.mark.parametrize(
    ("failed", "seconds"), [(0, 0.0), (1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, 30.0), (100, 30.0), (10**6, 30.0)]
)
def test_the_pause_after_abandoned_rounds_doubles_up_to_half_a_minute(failed: int, seconds: float) -> None:
    assert pause_after_failures(failed) == seconds


@pytest.mark.parametrize(("value", "number"), [(2, 2.0), (0.5, 0.5), (0, 0.0), (True, 7.0), ("3", 7.0), (None, 7.0)])
def test_a_hyperparameter_that_is_no_number_is_its_default(value: Scalar, number: float) -> None:
    assert replace(CONFIG, hyperparameters={"x": value}).hyperparameter("x", 7.0) == number


def test_a_hyperparameter_that_is_not_given_is_its_default() -> None:
    assert CONFIG.hyperparameter("x", 7.0) == 7.0
