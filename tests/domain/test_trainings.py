"""The states of a training, and what the end of a round means for it."""

from dataclasses import replace
from typing import get_args

import pytest

from app.domain.errors import StateForbids
from app.domain.progress import Progress
from app.domain.trainings import (
    FINAL,
    STOPPED,
    TRANSITIONS,
    Ending,
    Outcome,
    RoundPolicy,
    Training,
    TrainingConfig,
    TrainingEvent,
    TrainingStatus,
    after_round,
    ending,
    next_status,
    pause_after_failures,
    resumed,
)
from tcsfeel import statuses
from tcsfeel.wire.tasks import Scalar

MOVES: dict[TrainingStatus, dict[TrainingEvent, TrainingStatus]] = {
    "created": {"start": "running", "resume": "running", "run one round of": "running", "cancel": "cancelled"},
    "paused": {"start": "running", "resume": "running", "run one round of": "running", "cancel": "cancelled"},
    "running": {"pause": "paused", "rest": "paused", "cancel": "cancelled", "complete": "completed", "fail": "failed"},
    "completed": {},
    "failed": {"start": "running", "resume": "running", "run one round of": "running"},
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
    asked: set[TrainingEvent] = {"start", "resume", "run one round of"}
    assert {status for status, event in TRANSITIONS if event not in asked} == {"created", "paused", "running"}
    assert {*FINAL, "failed"} == STOPPED


CONFIG = TrainingConfig(name="t", target_accuracy=0.9, max_rounds=5, round_policy=RoundPolicy(max_failed_rounds=3))
MOVING = Progress("moving", 1.0)
TRAINING = Training(
    id="t", config=CONFIG, created_at=0.0, updated_at=0.0, status="running", current_round=2, progress=MOVING
)


REACHED = Ending("complete", "target_accuracy", "round 2 measured an accuracy of 0.9; the target was 0.9")
LAST = replace(TRAINING, current_round=5)
WHY = "too late"


@pytest.mark.parametrize(
    ("training", "outcome", "failed_in_row", "expected"),
    [
        (TRAINING, Outcome(completed=2, accuracy=0.5), 0, None),
        (TRAINING, Outcome(completed=0, reason=WHY), 2, None),
        (TRAINING, Outcome(completed=2, accuracy=0.9), 0, REACHED),  # reached, not only passed
        (TRAINING, Outcome(completed=2, accuracy=0.8999), 0, None),
        (TRAINING, Outcome(completed=2, accuracy=0.9, doubted=True), 0, None),
        (replace(TRAINING, stop_after=2), Outcome(completed=2, accuracy=0.9, doubted=True), 0, Ending("rest")),
        (TRAINING, Outcome(completed=2, reason=WHY), 3, Ending("fail", "too_many_failed_rounds", WHY)),
        (LAST, Outcome(completed=0, reason=WHY), 3, Ending("fail", "too_many_failed_rounds", WHY)),
        (replace(TRAINING, current_round=4), Outcome(completed=4, accuracy=0.5), 0, None),
        (replace(TRAINING, stop_after=2), Outcome(completed=1, accuracy=0.5), 0, Ending("rest")),
        (replace(TRAINING, stop_after=2), Outcome(completed=2, accuracy=0.9), 0, REACHED),
        # Someone who asks for single rounds sees them fail.
        (replace(TRAINING, stop_after=2), Outcome(completed=1, reason=WHY), 3, Ending("rest", detail=WHY)),
        (replace(LAST, stop_after=5), Outcome(completed=5, accuracy=0.5), 0, Ending("rest")),
    ],
)
def test_what_the_end_of_a_round_means(
    training: Training, outcome: Outcome, failed_in_row: int, expected: Ending | None
) -> None:
    assert ending(training, outcome, failed_in_row=failed_in_row) == expected


@pytest.mark.parametrize(
    ("best", "outcome", "event", "detail"),
    [
        (None, Outcome(completed=0, reason=WHY), "fail", "0 of 5 rounds completed; the last was abandoned: too late"),
        (
            0.75,
            Outcome(completed=4, reason=WHY),
            "complete",
            "4 of 5 rounds completed; the last was abandoned: too late; the best accuracy was 0.75; the target was 0.9",
        ),
        (
            0.75,
            Outcome(completed=5, accuracy=0.5),
            "complete",
            "5 of 5 rounds completed; the best accuracy was 0.75; the target was 0.9",
        ),
        (
            0.9,
            Outcome(completed=5, accuracy=0.5),
            "complete",
            (
                "5 of 5 rounds completed; the best accuracy was 0.9; the target was 0.9, "
                "and was not reached without the measurement of one client"
            ),
        ),
        (
            None,
            Outcome(completed=5),
            "complete",
            "5 of 5 rounds completed; no round measured an accuracy; the target was 0.9",
        ),
    ],
)
def test_a_training_at_its_last_round_says_what_it_achieved(
    best: float | None, outcome: Outcome, event: str, detail: str
) -> None:
    end = ending(replace(LAST, best_accuracy=best), outcome, failed_in_row=0)
    assert end is not None
    assert (end.event, end.stop_reason, end.detail) == (event, "max_rounds", detail)


def test_a_training_goes_on_with_what_its_round_measured() -> None:
    after = after_round(TRAINING, Outcome(completed=1, accuracy=0.5), 7.0)
    assert after == replace(TRAINING, accuracy=0.5, best_accuracy=0.5, next_round_at=7.0, updated_at=7.0)
    worse = after_round(after, Outcome(completed=2, accuracy=0.4), 8.0)
    assert worse == replace(after, accuracy=0.4, next_round_at=8.0, updated_at=8.0)
    assert after_round(worse, Outcome(completed=3), 8.0) == worse


def test_an_abandoned_round_is_followed_by_a_pause_until_one_completes() -> None:
    known, late = replace(TRAINING, accuracy=0.4, best_accuracy=0.5), Outcome(completed=1, reason=WHY)
    once = after_round(known, late, 7.0)
    waiting = Progress("waiting", 7.0, "round 2 was abandoned: too late")
    assert once == replace(known, failed_in_row=1, next_round_at=8.0, updated_at=7.0, progress=waiting)
    twice = after_round(once, late, 9.0)
    assert twice == replace(once, failed_in_row=2, next_round_at=11.0, updated_at=9.0)
    completed = after_round(twice, Outcome(completed=2), 11.0)
    assert (completed.failed_in_row, completed.progress) == (0, Progress("moving", 11.0))


def test_rounds_without_reachable_agents_count_as_failed_once_the_outage_has_lasted() -> None:
    lost = Outcome(completed=1, reason=WHY, outage=True)
    once = after_round(TRAINING, lost, 100.0)
    assert (once.failed_in_row, once.outage_since, once.next_round_at) == (0, 100.0, 101.0)
    later = after_round(once, lost, 3699.0)
    assert (later.failed_in_row, later.outage_since) == (0, 100.0)
    at_last = after_round(later, lost, 3700.0)  # max_wait_seconds is 3600
    assert (at_last.failed_in_row, at_last.outage_since) == (1, 100.0)
    reached = after_round(once, Outcome(completed=1, reason=WHY), 200.0)
    assert (reached.failed_in_row, reached.outage_since) == (1, None), "the agents answered"
    assert after_round(once, Outcome(completed=2), 200.0).outage_since is None


def test_a_training_that_does_not_wait_counts_every_outage() -> None:
    config = replace(CONFIG, round_policy=RoundPolicy(max_wait_seconds=0.0))
    once = after_round(replace(TRAINING, config=config), Outcome(completed=1, reason=WHY, outage=True), 100.0)
    assert once.failed_in_row == 1


def test_a_training_ends_with_its_reason() -> None:
    done = after_round(TRAINING, Outcome(completed=2, accuracy=0.9), 7.0)
    assert (done.status, done.stop_reason, done.paused_at) == ("completed", "target_accuracy", None)
    assert done.progress is None
    assert done.stop_detail == REACHED.detail
    failed = after_round(replace(TRAINING, failed_in_row=2), Outcome(completed=0, reason=WHY), 7.0)
    assert (failed.status, failed.stop_reason, failed.stop_detail) == ("failed", "too_many_failed_rounds", "too late")


def test_a_training_that_is_resumed_forgets_what_stopped_it() -> None:
    failed = replace(
        TRAINING, failed_in_row=3, stop_reason="too_many_failed_rounds", stop_detail=WHY, next_round_at=9.0
    )
    assert resumed(replace(failed, paused_at=3.0), 7.0) == replace(
        TRAINING, updated_at=7.0, progress=Progress("moving", 7.0)
    )


def test_a_training_rests_after_a_round_that_was_asked_for_singly() -> None:
    resting = after_round(replace(TRAINING, stop_after=2), Outcome(completed=2, accuracy=0.5), 7.0)
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


def test_the_library_knows_the_same_statuses_in_which_a_training_does_nothing_more() -> None:
    assert STOPPED == statuses.STOPPED
