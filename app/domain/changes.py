"""Changes of trainings that users ask for: another configuration, more rounds after the end."""

from collections.abc import Mapping
from dataclasses import replace

from app.domain.errors import StateForbids
from app.domain.trainings import TRANSITIONS, Training, TrainingConfig, TrainingStatus, resumed
from tcsfeel.aggregation.goals import Goal
from tcsfeel.errors import Invalid

CHANGEABLE: frozenset[TrainingStatus] = frozenset({"created", "paused", "failed"})
_BEFORE: Mapping[TrainingStatus, str] = {
    "running": ": pause it first",
    "completed": ": extend it, or create another training that starts from its last version",
    "cancelled": ": create another training that starts from its last version",
}


def changed(training: Training, config: TrainingConfig, now: float) -> Training:
    """Return a training with another configuration.

    Raises:
        StateForbids: it is running, or has ended in another way than failing.
        Invalid: rounds that it has run contradict the new configuration.
    """
    if training.status not in CHANGEABLE:
        raise StateForbids("change", "training", f"{training.status}{_BEFORE[training.status]}")
    if config.max_rounds < training.current_round:
        raise Invalid("/max_rounds", f"should be at least {training.current_round}, the rounds that have begun")
    _refuse_another_metric(training, config.goal)
    groups = (config.parameters, config.statistics)
    if training.model is not None and groups != (training.config.parameters, training.config.statistics):
        raise Invalid("/parameters", "cannot change, once the training has a model: create another training")
    return replace(training, config=config, updated_at=now)


_INSTEAD: Mapping[TrainingStatus, str] = {
    "created": ": change its max_rounds instead",
    "paused": ": change its max_rounds instead",
    "running": ": pause it, and change its max_rounds instead",
    "cancelled": ": create another training that starts from its last version instead",
}


def extended(training: Training, config: TrainingConfig, now: float) -> Training:
    """Return a training that has ended and runs again, with a configuration that allows more rounds.

    Its patience starts again, and an improvement is still one over the best value so far.

    Raises:
        StateForbids: it has not ended, or it was cancelled.
        Invalid: its goal has been reached and stays the same, or it would be on another metric.
    """
    if (training.status, "extend") not in TRANSITIONS:
        raise StateForbids("extend", "training", f"{training.status}{_INSTEAD[training.status]}")
    goal, before = config.goal, training.config.goal
    _refuse_another_metric(training, goal)
    if training.stop_reason in {"target", "target_accuracy"} and goal == before:
        raise Invalid("/goal", f"should be another one, since {before.shown_target} was reached")
    return resumed(replace(training, config=config, plateau_rounds=0), "extend", now)


def _refuse_another_metric(training: Training, goal: Goal) -> None:
    before = training.config.goal
    if training.current_round > training.begins_after and (goal.metric, goal.mode) != (before.metric, before.mode):
        now_and_then = f"{goal.metric} ({goal.mode}), not {before.metric} ({before.mode})"
        raise Invalid("/goal", f"cannot be on {now_and_then}, once a round has begun: create another training")
