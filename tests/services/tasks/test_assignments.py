"""What the dispatcher is given for one task."""

from dataclasses import replace

from app.domain.failures import Failure
from app.domain.tasks import TaskRun
from app.services.tasks.assignments import Assignment, Result, TaskOutcome
from app.store.model_store import ModelStore
from app.traces import Step
from tcsfeel.wire.relays import Child, Subtree, subtree_metadata
from tcsfeel.wire.tasks import TaskResult, task_metadata
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


def test_the_times_of_a_result_go_to_the_step_of_its_exchange(spool: ModelStore) -> None:
    noted: list[tuple[str, float, float]] = []

    class Noting(Step):
        def worked(self, kind: str, seconds: float, upload_seconds: float) -> None:
            noted.append((kind, seconds, upload_seconds))

    came = Result(spool.write([b"update"]), "identity", worked_seconds=9.0, upload_seconds=0.25)
    said = TaskResult(num_examples=10, loss=0.5, train_seconds=2.0)
    TaskOutcome(TaskRun(), came, exchange=Noting()).trace("fit", said)
    TaskOutcome(TaskRun(), came).trace("fit", said)  # which nobody traces
    assert noted == [("fit", 2.0, 0.25)]
