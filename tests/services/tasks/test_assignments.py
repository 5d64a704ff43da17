"""What the dispatcher is given for one task."""

from dataclasses import replace

from app.domain.failures import Failure
from app.services.tasks.assignments import Assignment
from app.store.model_store import ModelStore
from tcsfeel.wire.relays import Child, Subtree, subtree_metadata
from tcsfeel.wire.tasks import task_metadata
from tests.services.bench import MODEL, TASK
from tests.store.samples import client


def test_a_failure_names_the_task_in_which_it_happened(spool: ModelStore) -> None:
    failure = Assignment(client("a"), TASK, MODEL, spool).failure("the agent answered 500")
    assert failure == Failure(phase="fit", training_id="t", round=1, reason="the agent answered 500")


def test_the_task_of_a_relay_names_its_children_beside_the_task(spool: ModelStore) -> None:
    plain = Assignment(client("a"), TASK, MODEL, spool)
    assert plain.metadata == task_metadata(TASK)
    child = Child(client_id="b", task_id="t.1.b.fit", url="http://b", deadline_seconds=1.0, data_size=1)
    subtree = Subtree(client_id="a", children=(child,))
    relay = replace(plain, subtree=subtree)
    assert relay.metadata == {**task_metadata(TASK), **subtree_metadata(subtree)}
    assert "http://b" not in repr(relay)
