"""What the end of a round means for its training."""

from dataclasses import replace

import pytest

from app.domain.outcomes import Outcome, achieved, after_round, ending, pause_after_failures
from app.domain.progress import Progress
from app.domain.trainings import Ending, Origin, RoundPolicy, Training, TrainingConfig
from tcsfeel.aggregation.goals import Goal

CONFIG = TrainingConfig(name="t", goal=Goal(target=0.9), max_rounds=5, round_policy=RoundPolicy(max_failed_rounds=3))
MOVING = Progress("moving", 1.0)
TRAINING = Training(
    id="t", config=CONFIG, created_at=0.0, updated_at=0.0, status="running", current_round=2, progress=MOVING
)


REACHED = Ending("complete", "target_accuracy", "round 2 measured accuracy 0.9; the target was accuracy of 0.9 or more")
LAST = replace(TRAINING, current_round=5)
WHY = "too late"


@pytest.mark.parametrize(
    ("training", "outcome", "failed_in_row", "expected"),
    [
        (TRAINING, Outcome(completed=2, goal_value=0.5), 0, None),
        (TRAINING, Outcome(completed=0, reason=WHY), 2, None),
        (TRAINING, Outcome(completed=2, goal_value=0.9), 0, REACHED),  # reached, not only passed
        (TRAINING, Outcome(completed=2, goal_value=0.8999), 0, None),
        (TRAINING, Outcome(completed=2, goal_value=0.9, doubted=True), 0, None),
        (replace(TRAINING, stop_after=2), Outcome(completed=2, goal_value=0.9, doubted=True), 0, Ending("rest")),
        (TRAINING, Outcome(completed=2, reason=WHY), 3, Ending("fail", "too_many_failed_rounds", WHY)),
        (LAST, Outcome(completed=0, reason=WHY), 3, Ending("fail", "too_many_failed_rounds", WHY)),
        (replace(TRAINING, current_round=4), Outcome(completed=4, goal_value=0.5), 0, None),
        (replace(TRAINING, stop_after=2), Outcome(completed=1, goal_value=0.5), 0, Ending("rest")),
        (replace(TRAINING, stop_after=2), Outcome(completed=2, goal_value=0.9), 0, REACHED),
        # Someone who asks for single rounds sees them fail.
        (replace(TRAINING, stop_after=2), Outcome(completed=1, reason=WHY), 3, Ending("rest", detail=WHY)),
        (replace(LAST, stop_after=5), Outcome(completed=5, goal_value=0.5), 0, Ending("rest")),
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
            (
                "4 of 5 rounds completed; the last was abandoned: too late; the best accuracy was 0.75; "
                "the target was accuracy of 0.9 or more"
            ),
        ),
        (
            0.75,
            Outcome(completed=5, goal_value=0.5),
            "complete",
            "5 of 5 rounds completed; the best accuracy was 0.75; the target was accuracy of 0.9 or more",
        ),
        (
            0.9,
            Outcome(completed=5, goal_value=0.5),
            "complete",
            (
                "5 of 5 rounds completed; the best accuracy was 0.9; the target was accuracy of 0.9 or more, "
                "and was not reached without the measurement of one client"
            ),
        ),
        (
            None,
            Outcome(completed=5),
            "complete",
            "5 of 5 rounds completed; no round measured accuracy; the target was accuracy of 0.9 or more",
        ),
    ],
)
def test_a_training_at_its_last_round_says_what_it_achieved(
    best: float | None, outcome: Outcome, event: str, detail: str
) -> None:
    end = ending(replace(LAST, best_value=best), outcome, failed_in_row=0)
    assert end is not None
    assert (end.event, end.stop_reason, end.detail) == (event, "max_rounds", detail)


def test_a_training_goes_on_with_what_its_round_measured() -> None:
    after = after_round(TRAINING, Outcome(completed=1, accuracy=0.5, goal_value=0.5), 7.0)
    measured = replace(TRAINING, accuracy=0.5, best_accuracy=0.5, goal_value=0.5, best_value=0.5, best_round=2)
    assert after == replace(measured, plateau_value=0.5, next_round_at=7.0, updated_at=7.0)
    worse = after_round(replace(after, current_round=3), Outcome(completed=2, accuracy=0.4, goal_value=0.4), 8.0)
    assert (worse.accuracy, worse.best_accuracy) == (0.4, 0.5)
    assert (worse.goal_value, worse.best_value, worse.best_round, worse.plateau_rounds) == (0.4, 0.5, 2, 1)
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
    done = after_round(TRAINING, Outcome(completed=2, goal_value=0.9), 7.0)
    assert (done.status, done.stop_reason, done.paused_at) == ("completed", "target_accuracy", None)
    assert done.progress is None
    assert done.stop_detail == REACHED.detail
    failed = after_round(replace(TRAINING, failed_in_row=2), Outcome(completed=0, reason=WHY), 7.0)
    assert (failed.status, failed.stop_reason, failed.stop_detail) == ("failed", "too_many_failed_rounds", "too late")


FALLING = Goal(metric="rmse", mode="min", target=0.1, patience=2, min_delta=0.05)
REGRESSION = replace(TRAINING, config=replace(CONFIG, goal=FALLING, max_rounds=99))


def measuring(training: Training, *values: float | None) -> Training:
    """A training after so many more rounds, which measured these values."""
    for value in values:
        if training.status == "running":
            outcome = Outcome(completed=training.current_round, goal_value=value)
            training = after_round(replace(training, current_round=training.current_round + 1), outcome, 7.0)
    return training


def test_a_metric_that_is_to_fall_reaches_its_target_from_above() -> None:
    done = measuring(REGRESSION, 0.5, 0.1, 0.3)
    assert (done.status, done.stop_reason, done.current_round) == ("completed", "target", 4)
    assert done.stop_detail == "round 4 measured rmse 0.1; the target was rmse of 0.1 or less"
    assert (done.best_value, done.best_round, done.accuracy) == (0.1, 4, None)


def test_a_training_stops_when_it_has_not_improved_for_as_many_rounds_as_it_has_patience() -> None:
    # 0.46 is better than 0.5, but not by more than 0.05; 0.44 is, compared with 0.5
    moving = measuring(REGRESSION, 0.5, 0.46, 0.44, None, 0.42)
    assert (moving.status, moving.plateau_value, moving.plateau_rounds) == ("running", 0.44, 1)
    assert (moving.best_value, moving.best_round) == (0.42, 7)
    done = measuring(moving, 0.5)
    assert (done.status, done.stop_reason) == ("completed", "no_improvement")
    assert str(done.stop_detail).startswith("rmse has not improved by more than 0.05 in 2 rounds; ")
    assert "the best rmse was 0.42 in round 7" in str(done.stop_detail)


def test_a_value_that_is_only_as_good_as_before_is_no_improvement_and_not_the_best_again() -> None:
    config = replace(CONFIG, goal=Goal(patience=2), max_rounds=99)
    done = measuring(replace(TRAINING, config=config), 0.5, 0.5, 0.5)
    assert (done.stop_reason, done.best_value, done.best_round) == ("no_improvement", 0.5, 3)


def test_a_training_that_runs_out_of_patience_says_why_its_last_round_was_abandoned() -> None:
    end = ending(replace(REGRESSION, plateau_rounds=2), Outcome(completed=1, reason=WHY), failed_in_row=1)
    assert end is not None
    assert "1 of 2 rounds completed; the last was abandoned: too late" in str(end.detail)


def test_a_training_that_started_from_another_one_counts_only_its_own_rounds() -> None:
    later = replace(LAST, origin=Origin(training_id="s", round=3, model="0" * 64))
    assert achieved(later, completed=1).startswith("1 of 2 rounds completed; ")


def test_a_training_without_a_target_says_only_what_it_measured() -> None:
    config = replace(CONFIG, goal=Goal(metric="rmse", mode="min"), max_rounds=4)
    done = measuring(replace(TRAINING, config=config), 0.5, 0.4)
    assert (done.status, done.stop_reason) == ("completed", "max_rounds")
    assert done.stop_detail == "3 of 4 rounds completed; the best rmse was 0.4 in round 4"


def test_a_training_rests_after_a_round_that_was_asked_for_singly() -> None:
    resting = after_round(replace(TRAINING, stop_after=2), Outcome(completed=2, goal_value=0.5), 7.0)
    assert (resting.status, resting.stop_reason, resting.stop_after, resting.paused_at) == ("paused", None, None, 7.0)


@pytest.mark.parametrize(
    ("failed", "seconds"), [(0, 0.0), (1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, 30.0), (100, 30.0), (10**6, 30.0)]
)
def test_the_pause_after_abandoned_rounds_doubles_up_to_half_a_minute(failed: int, seconds: float) -> None:
    assert pause_after_failures(failed) == seconds
