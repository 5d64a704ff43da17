"""What the clients of a round measured, summed up."""

from collections.abc import Iterable
from dataclasses import replace

from app.domain.rounds import Participation, Round
from app.domain.summaries import summaries, target_doubt
from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation.goals import Goal
from tcsfeel.aggregation.updates import UpdateFacts
from tcsfeel.wire.tasks import ACCURACY, LOSS, TaskResult


def reported(part: Participation) -> UpdateFacts:
    """Return what a client reported with a result that was received."""
    metrics = part.metrics
    if ACCURACY not in metrics and part.accuracy is not None:  # stored before results had metrics
        metrics = {ACCURACY: part.accuracy, **metrics}
    return UpdateFacts(
        num_examples=part.num_examples or 0, loss=part.loss or 0.0, metrics=metrics, num_steps=part.num_steps
    )


def lacking(result: TaskResult, goal: Goal) -> str | None:
    """Say what an evaluation lacks that the training's goal needs; None where it has it."""
    known = (LOSS, *sorted(result.metrics))
    if goal.metric in known:
        return None
    return f"it measured {', '.join(known)}, but not {goal.metric}, which is the metric of the training's goal"


def measured(round_: Round, config: TrainingConfig) -> Round:
    """Return the round with what its evaluations and its participations measured, summed up metric by metric."""
    results = {one.client_id: reported(one) for one in _received(round_.evaluations)}
    metrics = summaries(results.values(), config)
    means = {name: summary.mean for name, summary in metrics.items()}
    return replace(
        round_,
        metrics=metrics,
        training_metrics=summaries(map(reported, _received(round_.participations)), config),
        average_accuracy=means.get(ACCURACY),
        average_loss=means.get(LOSS),
        goal_value=means.get(config.goal.metric),
        target_doubt=target_doubt(results, config, config.goal),
    )


def _received(parts: Iterable[Participation]) -> list[Participation]:
    return [part for part in parts if part.status == "received"]
