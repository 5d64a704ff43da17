"""Results of a part of the work: how they travel, and what of them is refused."""

import json
from typing import Any

import pytest

from tcsfeel.wire.errors import MalformedMetadata
from tcsfeel.wire.tasks import Task, TaskResult, read_result, read_task, result_metadata, task_metadata
from tests.tcsfeel.wire.test_tasks import RESULT, TASK


def test_a_partial_result_comes_back_as_it_went_and_a_whole_one_does_not_mention_it() -> None:
    result = TaskResult(num_examples=3, loss=0.0, num_steps=7, partial=True, asked_steps=70)
    assert read_result(result_metadata(result)) == result
    whole = TaskResult(num_examples=3, loss=0.0, num_steps=7).to_json()
    assert json.loads(whole) == {"num_examples": 3, "loss": 0.0, "train_seconds": 0.0, "num_steps": 7}


def test_a_task_offers_to_take_a_part_of_the_work_or_does_not_mention_it() -> None:
    task = Task(id="a", kind="fit", training_id="t", round=0, deadline_seconds=9.0, partial_margin=0.5, control_round=0)
    assert read_task(task_metadata(task)) == task
    assert json.loads(task.to_json())["control_round"] == 0
    assert "partial_margin" not in Task(id="a", kind="fit", training_id="t", round=0, deadline_seconds=9.0).to_json()
    for margin in (-1, float("nan"), True, "1"):
        with pytest.raises(MalformedMetadata, match=r"task\.partial_margin"):
            read_task({"task": json.dumps(TASK | {"partial_margin": margin})})


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"partial": True}, "result.partial should be true with asked_steps, and false without"),
        ({"asked_steps": 9, "num_steps": 3}, "result.partial should be true with asked_steps"),
        ({"partial": True, "asked_steps": 9}, "result.num_steps should be there with asked_steps"),
        ({"partial": True, "asked_steps": 9, "num_steps": 10}, "result.num_steps should be .*at most as many"),
        ({"partial": True, "asked_steps": 9, "num_steps": 0}, "result.num_steps should be greater than or equal to 1"),
        ({"partial": True, "asked_steps": 0, "num_steps": 1}, "result.asked_steps should be greater than or equal"),
        ({"partial": True, "asked_steps": 10**12 + 1, "num_steps": 1}, "result.asked_steps should be less than"),
        ({"partial": True, "asked_steps": float("nan"), "num_steps": 1}, "result.asked_steps should be a valid int"),
        ({"partial": True, "asked_steps": 9.5, "num_steps": 1}, "result.asked_steps should be a valid integer"),
        ({"partial": True, "asked_steps": True, "num_steps": 1}, "result.asked_steps should be a valid integer"),
        ({"partial": 1, "asked_steps": 9, "num_steps": 3}, "result.partial should be true with asked_steps"),
        ({"partial": "true", "asked_steps": 9, "num_steps": 3}, "result.partial should be true with asked_steps"),
        ({"partial": None}, "result.partial should be true with asked_steps"),
    ],
)
def test_a_partial_result_with_hostile_numbers_is_refused_with_the_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(MalformedMetadata, match=place):
        read_result({"result": json.dumps(RESULT | change)})
