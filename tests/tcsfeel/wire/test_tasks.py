"""The task and the result: strict about what they need, deaf to what a newer peer adds."""

import json
import re
from typing import Any

import pytest

from tcsfeel.wire.errors import MalformedMetadata
from tcsfeel.wire.tasks import (
    FULL,
    NOTHING_HELD_OUT,
    Task,
    TaskResult,
    UpdateEncoding,
    read_encoding,
    read_measurement,
    read_result,
    read_task,
    result_metadata,
    task_id,
    task_metadata,
)

TASK: dict[str, Any] = {
    "id": "t1.3.edge-7.fit",
    "kind": "fit",
    "training_id": "t1",
    "round": 3,
    "hyperparameters": {"local_epochs": 2, "learning_rate": 0.1, "flag": True, "name": "x", "none": None},
    "deadline_seconds": 600,
}
RESULT: dict[str, Any] = {"num_examples": 120, "loss": 0.5, "accuracy": 0.875, "train_seconds": 1.5}


def test_a_task_comes_back_as_it_went() -> None:
    task = Task(id="a", kind="evaluate", training_id="t", round=0, hyperparameters={"x": 1}, deadline_seconds=0.5)

    assert read_task(task_metadata(task)) == task


def test_a_result_comes_back_as_it_went() -> None:
    result = TaskResult(num_examples=3, loss=-1.5, accuracy=1.0, train_seconds=0.25, num_steps=7)

    assert read_result(result_metadata(result)) == result


def test_the_documented_json_is_read() -> None:
    task = read_task({"task": json.dumps(TASK)})

    assert task.hyperparameters == TASK["hyperparameters"]
    assert task.deadline_seconds == 600.0
    assert read_result({"result": json.dumps(RESULT)}).accuracy == 0.875


def test_fields_of_a_newer_peer_are_ignored() -> None:
    assert read_task({"task": json.dumps({**TASK, "priority": 1}), "more": "x"}).round == 3
    assert read_result({"result": json.dumps({**RESULT, "energy": 1})}).num_examples == 120


def test_an_update_is_in_full_unless_it_says_how_it_is_encoded() -> None:
    result = TaskResult(num_examples=1, loss=1, accuracy=1)
    encoding = UpdateEncoding(name="int8", scales={"w": 0.0078125, "b": 0.0})

    assert read_encoding(result_metadata(result, encoding)) == encoding
    assert read_encoding(result_metadata(result)) == FULL
    assert "update_encoding" not in result_metadata(result)
    documented = '{"name": "int8", "scales": {"w": 0.0078125, "b": 0}}'
    assert read_encoding({"update_encoding": documented}) == encoding


def test_an_offer_of_a_newer_peer_is_read_and_none_is_an_offer_too() -> None:
    assert read_task({"task": json.dumps({**TASK, "update_encoding": "int4"})}).update_encoding == "int4"
    assert read_task({"task": json.dumps(TASK)}).update_encoding == "full"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{", "is not JSON"),
        ('"int8"', "update_encoding"),
        ("{}", "update_encoding.name"),
        ('{"name": "int4"}', "update_encoding.name"),
        ('{"name": "int8", "scales": [1]}', "update_encoding.scales"),
        ('{"name": "int8", "scales": {"w": -1}}', "update_encoding.scales.w"),
        ('{"name": "int8", "scales": {"w": -1e-300}}', "update_encoding.scales.w"),
        ('{"name": "int8", "scales": {"w": NaN}}', "update_encoding"),
        ('{"name": "int8", "scales": {"w": Infinity}}', "update_encoding"),
        ('{"name": "int8", "scales": {"w": 1e999}}', "update_encoding.scales.w"),
        ('{"name": "int8", "scales": {"w": 3.5e38}}', "update_encoding.scales.w"),
        ('{"name": "int8", "scales": {"w": "1"}}', "update_encoding.scales.w"),
        ('{"name": "int8", "scales": {"w": null}}', "update_encoding.scales.w"),
        ('{"name": "int8", "scales": {"w": true}}', "update_encoding.scales.w"),
    ],
)
def test_an_encoding_that_breaks_the_schema_is_refused_with_the_place(text: str, place: str) -> None:
    with pytest.raises(MalformedMetadata, match=place):
        read_encoding({"update_encoding": text})


def test_the_name_of_a_task_is_the_same_for_every_try() -> None:
    assert task_id("t1", 3, "edge-7", "fit") == "t1.3.edge-7.fit"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"id": ""}, "task.id"),
        ({"id": "x" * 257}, "task.id"),
        ({"id": 7}, "task.id"),
        ({"kind": "predict"}, "task.kind"),
        ({"training_id": None}, "task.training_id"),
        ({"round": -1}, "task.round"),
        ({"round": "3"}, "task.round"),
        ({"round": True}, "task.round"),
        ({"hyperparameters": {"layers": [1, 2]}}, "task.hyperparameters.layers"),
        ({"deadline_seconds": 0}, "task.deadline_seconds"),
        ({"deadline_seconds": "600"}, "task.deadline_seconds"),
    ],
)
def test_a_task_that_breaks_the_schema_is_refused_with_the_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(MalformedMetadata, match=place):
        read_task({"task": json.dumps(TASK | change)})


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"num_examples": 0}, "result.num_examples"),
        ({"num_examples": 1.5}, "result.num_examples"),
        ({"num_examples": True}, "result.num_examples"),
        ({"num_examples": 10**15 + 1}, "result.num_examples"),
        ({"num_examples": 10**400}, "result.num_examples"),
        ({"loss": float("nan")}, "result.loss"),
        ({"loss": float("inf")}, "result.loss"),
        ({"loss": "0.5"}, "result.loss"),
        ({"loss": 1.7e308}, "result.loss .*less than or equal to 1000000000000000"),
        ({"loss": -1.1e15}, "result.loss .*greater than or equal to -1000000000000000"),
        ({"accuracy": 1.01}, "result.accuracy"),
        ({"accuracy": -0.01}, "result.accuracy"),
        ({"train_seconds": -1}, "result.train_seconds"),
        ({"train_seconds": 1.1e9}, "result.train_seconds"),
        ({"num_steps": 0}, "result.num_steps"),
        ({"num_steps": -5}, "result.num_steps"),
        ({"num_steps": 2.5}, "result.num_steps"),
        ({"num_steps": True}, "result.num_steps"),
        ({"num_steps": "9"}, "result.num_steps"),
        ({"num_steps": 10**12 + 1}, "result.num_steps"),
        ({"num_steps": float("inf")}, "result.num_steps"),
    ],
)
def test_a_result_that_breaks_the_schema_is_refused_with_the_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(MalformedMetadata, match=place):
        read_result({"result": json.dumps(RESULT | change)})


@pytest.mark.parametrize(
    "text",
    [
        '{"num_examples": 0}',
        '{"num_examples": 0, "loss": null, "accuracy": null}',
        '{"num_examples": 0, "loss": NaN, "accuracy": NaN}',  # what a mean over nothing is
    ],
)
def test_an_evaluation_over_no_examples_measures_nothing(text: str) -> None:
    assert read_measurement({"result": text}) is None
    with pytest.raises(MalformedMetadata, match=r"result\."):
        read_result({"result": text})


def test_an_evaluation_over_examples_is_a_result() -> None:
    assert read_measurement({"result": json.dumps(RESULT)}) == TaskResult(**RESULT)
    assert read_measurement(NOTHING_HELD_OUT) is None
    for change in ({"num_examples": -1}, {"num_examples": 1.0}, {"loss": float("nan")}):
        with pytest.raises(MalformedMetadata):
            read_measurement({"result": json.dumps(RESULT | change)})


@pytest.mark.parametrize("missing", ["num_examples", "loss"])
def test_a_result_without_its_measures_is_refused(missing: str) -> None:
    with pytest.raises(MalformedMetadata, match=missing):
        read_result({"result": json.dumps({name: value for name, value in RESULT.items() if name != missing})})


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [({}, "has no 'task'"), ({"task": "{"}, "is not JSON"), ({"task": "[]"}, "task"), ({"task": "1e999"}, "task")],
)
def test_metadata_without_a_task_is_refused(metadata: dict[str, str], reason: str) -> None:
    with pytest.raises(MalformedMetadata, match=reason):
        read_task(metadata)


@pytest.mark.parametrize(
    ("given", "accuracy", "metrics"),
    [
        ({}, None, {}),
        ({"accuracy": 0.5}, 0.5, {"accuracy": 0.5}),
        ({"metrics": {"accuracy": 0.5}}, 0.5, {"accuracy": 0.5}),
        ({"accuracy": 0.5, "metrics": {"accuracy": 0.5, "val/f1@5": -3}}, 0.5, {"accuracy": 0.5, "val/f1@5": -3.0}),
        ({"metrics": {f"m{number}": number for number in range(32)}}, None, {f"m{n}": float(n) for n in range(32)}),
        ({"metrics": {"a" * 64: 1e15}}, None, {"a" * 64: 1e15}),
    ],
)
def test_a_result_has_an_accuracy_only_where_there_is_one(
    given: dict[str, Any], accuracy: float | None, metrics: dict[str, float]
) -> None:
    result = TaskResult(num_examples=1, loss=0.5, **given)
    assert (result.accuracy, result.metrics) == (accuracy, metrics)
    assert read_result(result_metadata(result)) == result
    assert ("accuracy" in json.loads(result.to_json())) == (accuracy is not None), "older servers look for it there"


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"metrics": {"loss": 1.0}}, "result.metrics"),
        ({"metrics": {"": 1.0}}, "result.metrics"),
        ({"metrics": {"1st": 1.0}}, "result.metrics"),
        ({"metrics": {"a b": 1.0}}, "result.metrics"),
        ({"metrics": {"a\n": 1.0}}, "result.metrics"),
        ({"metrics": {"a" * 65: 1.0}}, "result.metrics"),
        ({"metrics": {f"m{number}": 1.0 for number in range(33)}}, "result.metrics"),
        ({"metrics": {"f1": float("nan")}}, "result.metrics.f1"),
        ({"metrics": {"f1": 1e16}}, "result.metrics.f1"),
        ({"metrics": {"f1": "0.5"}}, "result.metrics.f1"),
        ({"metrics": {"accuracy": 1.5}}, "result.metrics.accuracy"),
        ({"metrics": [1.0]}, "result.metrics"),
        ({"accuracy": 0.5, "metrics": {"accuracy": 0.25}}, "result.accuracy"),
    ],
)
def test_metrics_that_cannot_be_are_refused_with_their_place(given: dict[str, Any], place: str) -> None:
    result = json.dumps({"num_examples": 1, "loss": 0.5} | given)
    with pytest.raises(MalformedMetadata, match=rf"^{re.escape(place)} "):
        read_result({"result": result})
