"""What users change of trainings, and when."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from app.domain.changes import changed, extended
from app.domain.errors import StateForbids
from app.domain.parameter_groups import ParameterGroups
from app.domain.progress import Progress
from app.domain.trainings import RoundPolicy, StopReason, Training, TrainingConfig, TrainingStatus, resumed
from tcsfeel.aggregation.goals import Goal
from tcsfeel.errors import Invalid

CONFIG = TrainingConfig(name="t", goal=Goal(target=0.9), max_rounds=5, round_policy=RoundPolicy(max_failed_rounds=3))
MOVING = Progress("moving", 1.0)
TRAINING = Training(
    id="t", config=CONFIG, created_at=0.0, updated_at=0.0, status="running", current_round=2, progress=MOVING
)


@pytest.mark.parametrize("status", get_args(TrainingStatus))
def test_a_training_is_changed_only_while_nothing_runs_and_it_can_still_run(status: TrainingStatus) -> None:
    new = replace(CONFIG, name="new")
    if status in {"created", "paused", "failed"}:
        training = replace(TRAINING, status=status)
        assert changed(training, new, 9.0) == replace(training, config=new, updated_at=9.0)
    else:
        with pytest.raises(StateForbids, match=f"cannot change a training that is {status}"):
            changed(replace(TRAINING, status=status), new, 9.0)


def test_a_change_cannot_contradict_the_rounds_that_have_begun() -> None:
    paused = replace(TRAINING, status="paused")
    assert changed(paused, replace(CONFIG, max_rounds=2), 9.0).config.max_rounds == 2
    with pytest.raises(Invalid, match="should be at least 2, the rounds that have begun") as refused:
        changed(paused, replace(CONFIG, max_rounds=1), 9.0)
    assert refused.value.pointer == "/max_rounds"
    other = replace(CONFIG, goal=Goal(metric="rmse", mode="min"))
    with pytest.raises(Invalid, match=r"cannot be on rmse \(min\), not accuracy \(max\)") as refused:
        changed(paused, other, 9.0)
    assert refused.value.pointer == "/goal"
    assert changed(replace(paused, current_round=0), other, 9.0).config == other
    assert changed(paused, replace(CONFIG, goal=Goal(target=0.5, patience=3)), 9.0).config.goal.patience == 3


ENDED = replace(
    TRAINING, status="completed", current_round=5, stop_reason="max_rounds", progress=None, plateau_rounds=4
)


def test_a_training_that_has_ended_runs_more_rounds_with_new_patience() -> None:
    more = replace(CONFIG, max_rounds=8)
    wanted = replace(
        ENDED,
        config=more,
        status="running",
        stop_reason=None,
        plateau_rounds=0,
        updated_at=9.0,
        progress=Progress("moving", 9.0),
    )
    assert extended(ENDED, more, 9.0) == wanted
    assert extended(replace(ENDED, status="failed", failed_in_row=3, stop_after=5), more, 9.0) == wanted


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("created", "change its max_rounds"),
        ("paused", "change its max_rounds"),
        ("running", "pause it, and change its max_rounds"),
        ("cancelled", "create another training that starts from its last version"),
    ],
)
def test_only_a_training_that_has_ended_is_extended(status: TrainingStatus, advice: str) -> None:
    with pytest.raises(StateForbids, match=f"^cannot extend a training that is {status}: {advice} instead$"):
        extended(replace(ENDED, status=status), CONFIG, 9.0)


@pytest.mark.parametrize("reason", ["target", "target_accuracy"])
def test_a_training_that_reached_its_target_needs_another_goal_to_go_on(reason: StopReason) -> None:
    done = replace(ENDED, stop_reason=reason)
    with pytest.raises(Invalid, match=r"should be another one, since accuracy of 0\.9 or more was reached") as refused:
        extended(done, replace(CONFIG, max_rounds=9), 9.0)
    assert refused.value.pointer == "/goal"
    assert extended(done, replace(CONFIG, goal=Goal(target=0.95)), 9.0).config.goal.target == 0.95
    with pytest.raises(Invalid, match="cannot be on rmse"):
        extended(done, replace(CONFIG, goal=Goal(metric="rmse", mode="min")), 9.0)


@pytest.mark.parametrize(
    "change", [{"parameters": ParameterGroups(local=("bn*",))}, {"statistics": ("*.ema",)}], ids=["groups", "averaged"]
)
def test_groups_of_tensors_can_be_changed_until_there_is_a_model(change: dict[str, Any]) -> None:
    paused, new = replace(TRAINING, status="paused"), replace(CONFIG, **change)
    assert changed(paused, new, 9.0).config == new
    trained = replace(paused, model="a" * 64)
    with pytest.raises(Invalid, match="cannot change, once the training has a model") as caught:
        changed(trained, new, 9.0)
    assert caught.value.pointer == "/parameters"
    assert changed(replace(trained, config=new), replace(new, name="x"), 9.0).config.name == "x"


def test_a_training_that_failed_after_its_last_round_goes_on_once_it_has_more() -> None:
    failed = replace(TRAINING, status="failed", stop_reason="max_rounds", current_round=5, progress=None)
    with pytest.raises(StateForbids, match="of which max_rounds allows 5"):
        resumed(failed, "resume", 9.0)
    assert resumed(changed(failed, replace(CONFIG, max_rounds=6), 8.0), "resume", 9.0).status == "running"
