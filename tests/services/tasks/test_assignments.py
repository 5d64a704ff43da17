"""What the dispatcher is given for one task."""

from app.domain.failures import Failure
from app.services.tasks.assignments import Assignment
from app.store.model_store import ModelStore
from tests.services.bench import MODEL, TASK
from tests.store.samples import client


def test_a_failure_names_the_task_in_which_it_happened(spool: ModelStore) -> None:
    failure = Assignment(client("a"), TASK, MODEL, spool).failure("the agent answered 500")
    assert failure == Failure(phase="fit", training_id="t", round=1, reason="the agent answered 500")
