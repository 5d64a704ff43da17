"""What the clients of a round measured, summed up."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from app.domain.evaluations import Evaluation
from app.domain.rounds import Participation, Round
from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation.goals import Goal
from tcsfeel.aggregation.measurements import summaries, target_doubt
from tcsfeel.aggregation.updates import UpdateFacts
from tcsfeel.wire.tasks import ACCURACY, LOSS, TaskResult

Part = TypeVar("Part", Participation, Evaluation)


def reported(part: Participation | Evaluation) -> UpdateFacts:
    """Return what a client reported with a result that was received."""
    metrics = part.metrics
    if ACCURACY not in metrics and part.accuracy is not None:  # stored before results had metrics
        metrics = {ACCURACY: part.accuracy, **metrics}
    return UpdateFacts(num_examples=part.num_examples or 0, loss=part.loss or 0.0, metrics=metrics)


def lacking(result: TaskResult, goal: Goal) -> str | None:
    """Say what an evaluation lacks that the training's goal needs; None where it has it."""
    known = (LOSS, *sorted(result.metrics))
    if goal.metric in known:
        return None
    return f"it measured {', '.join(known)}, but not {goal.metric}, which is the metric of the training's goal"


def measured(round_: Round, evaluations: Sequence[Evaluation], config: TrainingConfig) -> Round:
    """Return the round with its evaluations, and with what they and its participations measured, metric by metric."""
    results = {one.client_id: reported(one) for one in _received(evaluations)}
    metrics = summaries(results.values(), config)
    means = {name: summary.mean for name, summary in metrics.items()}
    return replace(
        round_,
        evaluations=tuple(evaluations),
        metrics=metrics,
        training_metrics=summaries(map(reported, _received(round_.participations)), config),
        average_accuracy=means.get(ACCURACY),
        average_loss=means.get(LOSS),
        goal_value=means.get(config.goal.metric),
        target_doubt=target_doubt(results, config, config.goal),
    )


def _received(parts: Iterable[Part]) -> list[Part]:
    return [part for part in parts if part.status == "received"]
