"""The states of a training."""

from dataclasses import replace
from typing import get_args

import pytest

from app.domain.errors import StateForbids
from app.domain.progress import Progress
from app.domain.trainings import (
    STOPPED,
    TRANSITIONS,
    Ending,
    Origin,
    RoundPolicy,
    Training,
    TrainingConfig,
    TrainingEvent,
    TrainingStatus,
    cancelled,
    check_initial_model,
    ended,
    next_status,
    paused,
    resumed,
    with_progress,
)
from tcsfeel import statuses
from tcsfeel.aggregation.goals import Goal
from tcsfeel.schedules import ByRound, Step
from tcsfeel.wire.tasks import Scalar

MOVES: dict[TrainingStatus, dict[TrainingEvent, TrainingStatus]] = {
    "created": {"start": "running", "resume": "running", "run one round of": "running", "cancel": "cancelled"},
    "paused": {"start": "running", "resume": "running", "run one round of": "running", "cancel": "cancelled"},
    "running": {"pause": "paused", "rest": "paused", "cancel": "cancelled", "complete": "completed", "fail": "failed"},
    "completed": {"extend": "running"},
    "failed": {"start": "running", "resume": "running", "run one round of": "running", "extend": "running"},
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


def test_every_status_can_be_reached_and_a_training_that_stopped_runs_only_if_it_is_asked_to() -> None:
    assert {"created", *TRANSITIONS.values()} == set(get_args(TrainingStatus))
    asked: set[TrainingEvent] = {"start", "resume", "run one round of", "extend"}
    assert {status for status, event in TRANSITIONS if event not in asked} == {"created", "paused", "running"}
    assert set(get_args(TrainingStatus)) - {"created", "paused", "running"} == STOPPED


CONFIG = TrainingConfig(name="t", goal=Goal(target=0.9), max_rounds=5, round_policy=RoundPolicy(max_failed_rounds=3))
MOVING = Progress("moving", 1.0)
TRAINING = Training(
    id="t", config=CONFIG, created_at=0.0, updated_at=0.0, status="running", current_round=2, progress=MOVING
)
WHY = "too late"


def test_a_training_that_is_resumed_forgets_what_stopped_it() -> None:
    failed = replace(
        TRAINING, failed_in_row=3, stop_reason="too_many_failed_rounds", stop_detail=WHY, next_round_at=9.0
    )
    failed = replace(failed, status="failed", paused_at=3.0, progress=None, outage_since=5.0, stop_after=2)
    running = replace(TRAINING, updated_at=7.0, progress=Progress("moving", 7.0))
    assert resumed(failed, "resume", 7.0) == running
    assert resumed(failed, "run one round of", 7.0, stop_after=3) == replace(running, stop_after=3)


def test_a_training_that_runs_is_not_resumed() -> None:
    with pytest.raises(StateForbids, match=r"^cannot resume a training that is running$"):
        resumed(TRAINING, "resume", 7.0)


def test_a_training_without_a_round_left_runs_only_single_rounds() -> None:
    full = replace(TRAINING, status="failed", stop_reason="max_rounds", current_round=5, progress=None)
    said = (
        r"^cannot start a training that is failed after all of its rounds, of which max_rounds allows 5: "
        r"extend it, or run single rounds$"
    )
    with pytest.raises(StateForbids, match=said):
        resumed(full, "start", 7.0)
    assert resumed(full, "run one round of", 7.0, stop_after=6).status == "running"


def test_a_training_that_is_paused_makes_no_progress() -> None:
    assert paused(replace(TRAINING, stop_after=2), 7.0) == replace(
        TRAINING, status="paused", paused_at=7.0, progress=None, updated_at=7.0, stop_after=2
    )
    with pytest.raises(StateForbids, match=r"^cannot pause a training that is created$"):
        paused(replace(TRAINING, status="created"), 7.0)


def test_a_training_that_ended_says_why_and_keeps_nothing_that_was_only_for_its_run() -> None:
    before = replace(TRAINING, stop_after=2, paused_at=3.0)
    assert ended(before, Ending("complete", "target", WHY), 7.0) == replace(
        TRAINING, status="completed", stop_reason="target", stop_detail=WHY, progress=None, updated_at=7.0
    )
    assert ended(before, Ending("fail", "too_many_failed_rounds"), 7.0).status == "failed"


def test_a_training_rests_after_a_single_round_from_then_on() -> None:
    assert ended(replace(TRAINING, stop_after=2), Ending("rest"), 7.0) == replace(
        TRAINING, status="paused", paused_at=7.0, progress=None, updated_at=7.0
    )


def test_a_running_training_has_its_newest_progress() -> None:
    stalled = with_progress(TRAINING, "stalled", "the disk is full", 7.0)
    assert stalled == replace(TRAINING, progress=Progress("stalled", 7.0, "the disk is full"))
    waiting = with_progress(stalled, "waiting", "no clients", 9.0)
    assert waiting.progress == Progress("waiting", 7.0, "no clients"), "it has made none since 7.0"


def test_a_training_that_is_cancelled_says_how_far_it_came() -> None:
    before = replace(TRAINING, status="paused", paused_at=3.0, stop_after=2)
    assert cancelled(before, WHY, 7.0) == replace(
        TRAINING, status="cancelled", stop_reason="cancelled", stop_detail=WHY, progress=None, updated_at=7.0
    )
    with pytest.raises(StateForbids, match=r"^cannot cancel a training that is completed$"):
        cancelled(replace(TRAINING, status="completed"), WHY, 7.0)


@pytest.mark.parametrize("status", get_args(TrainingStatus))
def test_a_training_gets_a_first_model_only_before_it_starts(status: TrainingStatus) -> None:
    training = replace(TRAINING, status=status, current_round=0)
    if status == "created":
        check_initial_model(training)
        return
    with pytest.raises(StateForbids, match=f"^cannot upload initial parameters for a training that is {status}$"):
        check_initial_model(training)


def test_a_training_with_a_round_gets_no_first_model() -> None:
    with pytest.raises(StateForbids, match=r"for a training that is past its first round$"):
        check_initial_model(replace(TRAINING, status="created", current_round=1))


def test_a_training_that_started_from_another_gets_no_first_model_and_counts_rounds_from_that_version() -> None:
    started = replace(
        TRAINING, status="created", current_round=0, origin=Origin(training_id="s", round=4, model="0" * 64)
    )
    said = r"^cannot upload initial parameters for a training that is started from another one's version$"
    with pytest.raises(StateForbids, match=said):
        check_initial_model(started)
    assert (started.begins_after, TRAINING.begins_after) == (4, 0)


def test_a_round_has_the_values_that_the_schedules_give_it() -> None:
    config = replace(
        CONFIG,
        hyperparameters={"learning_rate": 9.0, "momentum": 0.5},
        round_policy=RoundPolicy(quorum=0.5),
        schedules={
            "hyperparameters.learning_rate": Step(init_value=0.8, gamma=0.5, step_size=1),
            "hyperparameters.local_epochs": ByRound(values={1: 1.4, 3: 2.6}),
            "round_policy.deadline_seconds": ByRound(values={1: 60.0, 3: 90.0}),
        },
    )
    of_first = {"learning_rate": 0.8, "momentum": 0.5, "local_epochs": 1}
    of_third = {"learning_rate": pytest.approx(0.2), "momentum": 0.5, "local_epochs": 3}
    for number, values, seconds in ((1, of_first, 60.0), (3, of_third, 90.0)):
        found = config.in_round(number)
        assert found.hyperparameters == values
        assert isinstance(found.hyperparameters["local_epochs"], int), "epochs are whole"
        policy = RoundPolicy(quorum=0.5, deadline_seconds=seconds)
        assert found == replace(config, hyperparameters=found.hyperparameters, round_policy=policy, schedules={})


def test_without_schedules_all_rounds_have_the_same_values() -> None:
    config = replace(CONFIG, hyperparameters={"momentum": 0.5})
    assert config.in_round(1) == config.in_round(9) == config


@pytest.mark.parametrize(("value", "number"), [(2, 2.0), (0.5, 0.5), (0, 0.0), (True, 7.0), ("3", 7.0), (None, 7.0)])
def test_a_hyperparameter_that_is_no_number_is_its_default(value: Scalar, number: float) -> None:
    assert replace(CONFIG, hyperparameters={"x": value}).hyperparameter("x", 7.0) == number


def test_a_hyperparameter_that_is_not_given_is_its_default() -> None:
    assert CONFIG.hyperparameter("x", 7.0) == 7.0


def test_the_library_knows_the_same_statuses_in_which_a_training_does_nothing_more() -> None:
    assert STOPPED == statuses.STOPPED
