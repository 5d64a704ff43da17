"""The groups of tensors that a task names, and a task that names none.

Covers: tcsfeel.wire.tasks
"""

import json
from typing import Any

import pytest

from tcsfeel.wire.errors import MalformedMetadata
from tcsfeel.wire.tasks import Task, read_task, task_metadata

TASK: dict[str, Any] = {"id": "t.1.c.fit", "kind": "fit", "training_id": "t", "round": 1, "deadline_seconds": 60.0}


def test_groups_arrive_as_they_were_sent() -> None:
    task = Task(**TASK, local_tensors=("bn*",), frozen_tensors=("emb.*", "pos"), frozen_id="f" * 64)
    assert read_task(task_metadata(task)) == task


def test_a_task_without_groups_is_what_it_was_before_there_were_groups() -> None:
    said = json.loads(Task(**TASK).to_json())
    assert said == TASK | {"hyperparameters": {}, "update_encoding": "full"}
    read = read_task({"task": json.dumps(TASK)})
    assert (read.local_tensors, read.frozen_tensors, read.frozen_id) == ((), (), "")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"local_tensors": "bn*"}, "task.local_tensors should be a list"),
        ({"local_tensors": [1]}, "task.local_tensors.'0' should be a valid string"),
        ({"local_tensors": [""]}, "task.local_tensors.'0' should have at least 1 character"),
        ({"frozen_tensors": ["x" * 257]}, "task.frozen_tensors.'0' should have at most 256 characters"),
        ({"frozen_tensors": ["x"] * 65}, "task.frozen_tensors should have at most 64 entries, not 65"),
        ({"frozen_id": "f" * 65}, "task.frozen_id should have at most 64 characters"),
    ],
)
def test_groups_that_are_none_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedMetadata) as caught:
        read_task({"task": json.dumps(TASK | fields)})
    assert str(caught.value) == reason
