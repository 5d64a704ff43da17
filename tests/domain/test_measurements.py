"""What the clients of a round measured, summed up."""

from dataclasses import replace

import pytest

from app.domain.measurements import lacking, measured, reported
from app.domain.rounds import Participation, Round
from app.domain.summaries import TargetDoubt
from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation.goals import Goal
from tcsfeel.aggregation.updates import UpdateFacts
from tcsfeel.wire.tasks import TaskResult

ROUND = Round(training_id="t", number=3, status="evaluating", seed=1, started_at=0.0, deadline_at=9.0)


def evaluation(client_id: str, accuracy: float, loss: float) -> Participation:
    metrics = {"accuracy": accuracy, "rmse": 2 * loss}
    return Participation(
        kind="evaluate", client_id=client_id, status="received", num_examples=10, loss=loss, metrics=metrics
    )


def test_a_result_is_reported_with_its_metrics() -> None:
    part = Participation(client_id="a", status="received", num_examples=7, loss=0.5, metrics={"rmse": 2.0})
    assert reported(part) == UpdateFacts(num_examples=7, loss=0.5, metrics={"rmse": 2.0})
    assert reported(replace(part, num_steps=3)).num_steps == 3
    assert reported(replace(part, num_examples=None, loss=None)) == UpdateFacts(
        num_examples=0, loss=0.0, metrics={"rmse": 2.0}
    )


def test_an_accuracy_that_was_stored_before_there_were_metrics_is_one_of_them() -> None:
    old = Participation(client_id="a", status="received", num_examples=7, loss=0.5, accuracy=0.25)
    assert reported(old).metrics == {"accuracy": 0.25}
    assert reported(replace(old, metrics={"accuracy": 0.75})).metrics == {"accuracy": 0.75}


def test_an_evaluation_without_the_metric_of_the_goal_lacks_it() -> None:
    result = TaskResult(num_examples=3, loss=0.5, metrics={"rmse": 1.0, "accuracy": 0.5})
    assert lacking(result, Goal(metric="loss", mode="min")) is None
    assert lacking(result, Goal(metric="rmse", mode="min")) is None
    assert lacking(result, Goal(metric="auc")) == (
        "it measured loss, accuracy, rmse, but not auc, which is the metric of the training's goal"
    )


def test_a_round_has_what_its_evaluations_measured_apart_from_what_its_trainers_did() -> None:
    trained = (
        Participation(client_id="a", status="received", num_examples=10, loss=4.0),
        Participation(client_id="b", status="failed", num_examples=10, loss=8.0),
    )
    evaluations = (
        evaluation("a", accuracy=0.5, loss=1.0),
        evaluation("b", accuracy=1.0, loss=3.0),
        replace(evaluation("c", accuracy=0.0, loss=9.0), status="failed"),
    )
    config = TrainingConfig(name="t", goal=Goal(metric="rmse", mode="min", target=1.0))
    after = measured(replace(ROUND, participations=trained, evaluations=evaluations), config)
    assert after.evaluations == evaluations
    assert (after.average_accuracy, after.average_loss, after.goal_value) == pytest.approx((0.75, 2.0, 4.0))
    assert {name: one.clients for name, one in after.metrics.items()} == {"loss": 2, "accuracy": 2, "rmse": 2}
    assert {name: (one.mean, one.clients) for name, one in after.training_metrics.items()} == {"loss": (4.0, 1)}
    assert after.target_doubt is None


def test_a_round_without_evaluations_has_no_values() -> None:
    after = measured(ROUND, TrainingConfig(name="t"))
    assert (after.average_accuracy, after.average_loss, after.goal_value, after.target_doubt) == (None,) * 4
    assert (after.metrics, after.training_metrics) == ({}, {})


def test_a_target_that_one_client_alone_reaches_is_in_doubt() -> None:
    config = TrainingConfig(name="t", goal=Goal(target=0.5))
    accuracies = {"a": 0.45, "b": 0.45, "c": 0.8}
    evaluations = tuple(evaluation(client_id, accuracy, loss=1.0) for client_id, accuracy in accuracies.items())
    after = measured(replace(ROUND, evaluations=evaluations), config)
    assert after.goal_value == pytest.approx(1.7 / 3)
    assert after.target_doubt == TargetDoubt("c", pytest.approx(0.45))  # type: ignore[arg-type]  # approx
