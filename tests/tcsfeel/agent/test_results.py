"""What a trainer returns: measured, checked, and sent in the types that came."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task
from tcsfeel.agent.entries import Entry
from tcsfeel.agent.errors import BrokenResult
from tcsfeel.agent.results import evaluate_payload, fitted
from tcsfeel.wire.codec import decode
from tcsfeel.wire.tasks import read_result
from tests.clocks import FakeClock
from tests.tcsfeel.agent.fakes import PARAMETERS, AddingTrainer, GatedTrainer, make_task
from tests.tcsfeel.agent.tables import settled, table_of


async def test_an_evaluation_gives_measures_and_no_tensors() -> None:
    table = table_of(AddingTrainer())

    table.submit(make_task(kind="evaluate"), PARAMETERS)
    entry = await settled(table)

    assert entry.payload is not None
    parameters, metadata = decode(b"".join(entry.payload))
    assert parameters == {}
    assert read_result(metadata).accuracy == 0.75


async def test_the_time_that_training_took_is_reported() -> None:
    clock = FakeClock()

    def train(parameters: Parameters, _task: Task) -> FitResult:
        clock.advance(12.5)
        return FitResult(parameters, 1, 0, 0)

    trainer = GatedTrainer(train)
    trainer.gate.set()
    table = table_of(trainer, clock)
    table.submit(make_task(), PARAMETERS)
    entry = await settled(table)

    assert entry.payload is not None
    assert read_result(decode(b"".join(entry.payload))[1]).train_seconds == 12.5


def fit_result(**change: Any) -> FitResult:
    return replace(FitResult(PARAMETERS, 1, 0.0, 0.0), **change)


BROKEN = {
    "no result": (None, "fit must return a FitResult, not NoneType"),
    "another result": (EvaluateResult(1, 0, 0), "fit must return a FitResult, not EvaluateResult"),
    "other names": (fit_result(parameters={"v": np.zeros(2)}), "these are missing: w; these were not received: v"),
    "a name less": (fit_result(parameters={}), "these are missing: w"),
    "no array": (fit_result(parameters={"w": [1.0, 2.0]}), "tensor 'w' must be a numpy array, not a list"),
    "another shape": (fit_result(parameters={"w": np.zeros(3)}), r"'w' came as (2,) and went back as (3,)"),
    "another kind": (fit_result(parameters={"w": np.zeros(2, complex)}), "came as float32 and went back as complex128"),
    "no examples": (fit_result(num_examples=0), "num_examples is 0"),
    "a loss that is no number": (fit_result(loss=float("nan")), "loss is nan"),
    "a loss beyond all sense": (fit_result(loss=1.7e308), "loss is 1.7e+308: it should be less than"),
    "percent": (fit_result(accuracy=75.0), "accuracy is 75.0"),
    "no step": (fit_result(num_steps=0), "num_steps is 0: it should be greater than or equal to 1"),
}


@pytest.mark.parametrize(("result", "reason"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_result_fails_the_task_and_says_what_to_change(result: Any, reason: str) -> None:
    trainer = GatedTrainer(lambda _p, _t: result)
    trainer.gate.set()
    table = table_of(trainer)

    table.submit(make_task(), PARAMETERS)
    entry = await settled(table)

    assert entry.state == "failed"
    assert reason in entry.failure


async def test_wider_floats_and_numpy_scalars_are_sent_as_what_came() -> None:
    result = fit_result(
        parameters={"w": np.array([0.1, 0.2])}, num_examples=np.int64(5), loss=np.float32(0.5), accuracy=np.float64(1)
    )
    trainer = GatedTrainer(lambda _p, _t: result)
    trainer.gate.set()
    table = table_of(trainer)

    table.submit(make_task(), PARAMETERS)
    entry = await settled(table)

    assert entry.payload is not None
    parameters, metadata = decode(b"".join(entry.payload))
    np.testing.assert_array_equal(parameters["w"], np.array([0.1, 0.2], np.float32))
    assert parameters["w"].dtype == np.float32
    assert read_result(metadata).num_examples == 5


class WithoutEvaluation:
    """A trainer whose data is all for training."""

    def initial_parameters(self) -> Parameters:
        return PARAMETERS

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        raise AssertionError(f"only an evaluation is asked for, not {task.kind} of {sorted(parameters)}")

    def profile(self) -> Profile:
        return Profile(data_size=10)


async def test_a_trainer_that_cannot_evaluate_says_that_it_has_nothing_to_measure_with() -> None:
    table = table_of(WithoutEvaluation())
    table.submit(make_task(kind="evaluate"), PARAMETERS)
    assert _metadata(await settled(table)) == {"result": '{"num_examples":0}'}


@pytest.mark.parametrize("measures", [(0.0, 0.0), (float("nan"), float("nan"))])
async def test_an_evaluation_over_no_examples_says_so(measures: tuple[float, float]) -> None:
    class Empty(AddingTrainer):
        def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
            del parameters, task
            return EvaluateResult(0, *measures)

    table = table_of(Empty())
    table.submit(make_task(kind="evaluate"), PARAMETERS)
    assert _metadata(await settled(table)) == {"result": '{"num_examples":0}'}


def _metadata(entry: Entry) -> dict[str, str]:
    assert entry.payload is not None
    parameters, metadata = decode(b"".join(entry.payload))
    assert parameters == {}
    return metadata


def test_a_number_of_numpy_stands_for_an_array_without_dimensions() -> None:
    received = {"b": np.zeros((), np.float32)}
    result = FitResult({"b": received["b"] + np.float32(0.5)}, 1, 0.0, 0.0)  # numpy makes a number of it

    header, block = fitted(result, received, 1.0).payload

    assert decode(header + bytes(block))[0]["b"] == 0.5


def test_a_trainer_may_measure_what_it_likes() -> None:
    found = evaluate_payload(EvaluateResult(3, 0.25, metrics={"rmse": np.float32(0.5)}), 1.0)
    result = read_result(decode(b"".join(found))[1])
    assert (result.loss, result.accuracy, result.metrics) == (0.25, None, {"rmse": 0.5})


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ({"rmse": float("nan")}, "metrics.rmse is nan: it should be a finite number"),
        ({"loss": 1.0}, "metrics should not have 'loss', because a result has a field for it"),
        ({"rmse": "low"}, "metrics.rmse is a str: it should be a number"),
        ([0.5], "metrics should be a mapping from names to numbers, not list"),
    ],
)
def test_metrics_that_cannot_be_sent_are_named_to_the_author(metrics: Any, told: str) -> None:
    with pytest.raises(BrokenResult, match=re.escape(told)):
        evaluate_payload(EvaluateResult(3, 0.25, metrics=metrics), 1.0)
