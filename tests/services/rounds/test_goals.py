"""Trainings whose trainers do not classify, and results that lack what a training needs."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.rounds import Participation, Round
from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Task
from tcsfeel.aggregation.goals import Goal
from tests.planes import Adder, plane
from tests.services.courses import parts


def evaluations(round_: Round) -> dict[str, Participation]:
    return {one.client_id: one for one in round_.evaluations}


ERROR = Goal(metric="rmse", mode="min", target=0.5)


class Regression(Adder):
    """Its model is right where the parameter is 2; it says how far away that is."""

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        return replace(super().fit(parameters, task), accuracy=None, metrics={"rmse": self._error(parameters)})

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        return replace(super().evaluate(parameters, task), accuracy=None, metrics={"rmse": self._error(parameters)})

    def _error(self, parameters: Parameters) -> float:
        return abs(float(parameters["w"][0]) - 2.0)


async def test_a_training_reaches_a_target_by_falling_to_it(database_url: str, tmp_path: Path) -> None:
    trainers = {name: Regression(1.0) for name in "abc"}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(goal=ERROR, max_rounds=9)
        first, second = await running.run_round(training_id), await running.run_round(training_id)
        training = await running.system.trainings.get(training_id)
    assert (first.goal_value, second.goal_value) == (1.0, 0.0)
    assert (first.average_accuracy, training.accuracy) == (None, None)
    assert first.training_metrics["rmse"].mean == 2.0, "on the parameters that they got"
    assert [part.metrics for part in parts(first).values()] == [{"rmse": 2.0}] * 3
    assert [one.metrics for one in evaluations(first).values()] == [{"rmse": 1.0}] * 3
    assert second.convergence_speed is not None
    assert second.convergence_speed > 0, "it fell, as it is to"
    assert (training.status, training.stop_reason) == ("completed", "target")
    assert training.stop_detail == "round 2 measured rmse 0; the target was rmse of 0.5 or less"


async def test_an_evaluation_without_the_goals_metric_is_rejected_and_its_client_stays(
    database_url: str, tmp_path: Path
) -> None:
    trainers = {"knows": Regression(0.0), "lacks": Adder(0.0)}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(goal=ERROR, max_rounds=9)
        rounds = [await running.run_round(training_id) for _ in range(4)]
        breaker = await running.system.breakers.get("lacks")
    for round_ in rounds:
        lacking = evaluations(round_)["lacks"]
        assert lacking.status == "rejected"
        assert lacking.reason == "it measured loss, accuracy, but not rmse, which is the metric of the training's goal"
        assert parts(round_)["lacks"].status == "received", "it trains as it should"
        assert round_.metrics["rmse"].clients == 1
    assert (breaker.state, breaker.last_failures) == ("closed", ())


async def test_a_rule_that_weighs_by_accuracy_rejects_updates_without_one(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"knows": Adder(1.0), "lacks": Regression(1.0)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        round_ = await running.run_round(await running.create(aggregation="weighted", max_rounds=2))
    assert parts(round_)["knows"].status == "received"
    lacking = parts(round_)["lacks"]
    assert lacking.status == "rejected"
    assert str(lacking.reason).startswith("its result has no accuracy, by which the aggregation rule 'weighted' weighs")


@pytest.mark.parametrize("goal", [Goal(metric="rmse", mode="min"), Goal(metric="loss", mode="min", patience=2)])
async def test_what_stops_a_training_without_a_target(sqlite_url: str, tmp_path: Path, goal: Goal) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Regression(0.0)}) as running:
        training_id = await running.create(goal=goal, max_rounds=3)
        for _ in range(3):
            await running.run_round(training_id)
        training = await running.system.trainings.get(training_id)
        await running.system.trainings.start(training_id)
        ended = await running.system.trainings.get(training_id)
    assert training.plateau_rounds == 2
    assert (ended.status, ended.stop_reason) == ("completed", "no_improvement" if goal.patience else "max_rounds")
