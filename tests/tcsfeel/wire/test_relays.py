"""What relays are told, and what they answer."""

import json
from dataclasses import replace

import pytest

from tcsfeel.wire.errors import MalformedMetadata
from tcsfeel.wire.relays import (
    Child,
    Member,
    Missing,
    Partial,
    Subtree,
    partial_metadata,
    read_partial,
    read_subtree,
    subtree_metadata,
)
from tcsfeel.wire.tasks import Task, TaskResult

CHILD = Child(
    client_id="a", task_id="t.1.a.fit", url="http://a", grant="g", deadline_seconds=2.5, data_size=10, public_key="k"
)
RESULT = TaskResult(num_examples=10, loss=0.5, accuracy=0.25, metrics={"f1": 0.5}, num_steps=3)


def test_a_subtree_comes_back_as_it_was_written() -> None:
    subtree = Subtree(client_id="r", children=(CHILD,))
    assert read_subtree(subtree_metadata(subtree)) == subtree
    assert read_subtree({}) is None


def test_a_partial_comes_back_as_it_was_written() -> None:
    partial = Partial(
        members=(Member(client_id="r", result=RESULT, digest="d", signature_input="i", signature="s"),),
        missing=(Missing(client_id="b", reason="it stopped"),),
    )
    assert read_partial(partial_metadata(partial)) == partial
    assert read_partial({}) is None
    assert partial.num_examples == 10


def test_a_childs_task_is_that_of_its_relay_with_another_id_and_deadline() -> None:
    task = Task(id="t.1.r.fit", kind="fit", training_id="t", round=1, hyperparameters={"x": 1}, deadline_seconds=9.0)
    child = CHILD.task(task)
    assert (child.id, child.deadline_seconds, child.hyperparameters) == ("t.1.a.fit", 2.5, {"x": 1})
    fewer = replace(CHILD, local_epochs=2).task(replace(task, hyperparameters={"x": 1, "local_epochs": 5}))
    assert fewer.hyperparameters == {"x": 1, "local_epochs": 2}


def _children(**changes: object) -> str:
    fields = {name: getattr(CHILD, name) for name in Child.rules} | changes
    return json.dumps({"client_id": "r", "children": [fields]})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("7", "relay should be an object"),
        ("{}", "relay.client_id is required"),
        (_children(url=""), "relay.children.'0'.url should have at least 1 character"),
        (_children(deadline_seconds=0), "relay.children.'0'.deadline_seconds should be greater than 0"),
        (_children(deadline_seconds=float("nan")), "relay.children.'0'.deadline_seconds should be a finite number"),
        (_children(data_size=True), "relay.children.'0'.data_size should be a valid integer"),
        (_children(local_epochs=-1), "relay.children.'0'.local_epochs should be greater than or equal to 0"),
        (_children(grant=7), "relay.children.'0'.grant should be a valid string"),
        (json.dumps({"client_id": "r", "children": [{}] * 65}), "relay.children should have at most 64 entries"),
    ],
)
def test_a_wrong_subtree_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(MalformedMetadata, match=place):
        read_subtree({"relay": text})
