"""Define what the dispatcher gets for one task, and what it returns."""

from dataclasses import dataclass, field
from typing import NamedTuple

from app.domain.clients import Client
from app.domain.failures import Failure, FailureKind, FailurePhase
from app.domain.rounds import Evidence
from app.domain.tasks import TaskRun
from app.store.leases import Lease
from app.store.model_store import ModelStore, StoredFile
from app.traces import UNTRACED, Step
from tcsfeel.wire.codec import Packed
from tcsfeel.wire.compression import IDENTITY
from tcsfeel.wire.relays import Subtree, subtree_metadata
from tcsfeel.wire.tasks import AskedKind, Task, TaskResult, task_metadata


@dataclass(frozen=True, slots=True)
class Frozen:
    """The tensors of a training that never change.

    Attributes:
        id: the name under which agents keep them.
        whole: the model with them.
    """

    id: str
    whole: Packed


class ToSend(NamedTuple):
    """What tasks carry of a model.

    Attributes:
        model: the tensors that updates hold as well.
        frozen: what an agent gets that does not have the frozen tensors; None if there are none.
        file: the file of the model store that has the tensors of `model` and nothing else; None if there is none.
    """

    model: Packed
    frozen: Frozen | None
    file: StoredFile | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task for a client, with its model and the spool for its result.

    Attributes:
        frozen: what an agent gets in place of the model if it does not have the frozen tensors; None if there are none.
        accept: the content coding that the result may be in.
        limit: how many bytes the result may have as it comes.
        lease: failures count against the client as long as it holds.
        run: how far earlier owners of the round have come with the task.
        subtree: the children of the client, if it is to relay their updates.
        file: as in `ToSend`.
    """

    client: Client
    task: Task
    model: Packed
    spool: ModelStore
    frozen: Frozen | None = None
    accept: str = IDENTITY
    limit: int | None = None
    lease: Lease | None = None
    run: TaskRun = field(default_factory=TaskRun)
    subtree: Subtree | None = field(default=None, repr=False)
    file: StoredFile | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """What the body of the task says beside its tensors."""
        said = task_metadata(self.task)
        return said if self.subtree is None else {**said, **subtree_metadata(self.subtree)}

    def failure(self, reason: str, kind: FailureKind = "faulty") -> Failure:
        """Describe a failure of the task, to be counted for the client."""
        task = self.task
        phase: FailurePhase = "initial model" if task.kind == "model" else task.kind
        return Failure(phase=phase, training_id=task.training_id, round=task.round, reason=reason, kind=kind)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an attempt at a task.

    Attributes:
        file: the result in the spool, as it came.
        coding: the content coding that it came in.
        worked_seconds: how long the agent was seen to be at work in this attempt.
        upload_seconds: how long the result took to come in.
        evidence: the signatures of the result, if the agent has a key.
    """

    file: StoredFile
    coding: str
    worked_seconds: float
    upload_seconds: float = 0.0
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """The end of a task: its costs, and its result or the reason why there is none.

    `traceback` has the last lines of the traceback of an exception in the client's trainer, if that is the reason.
    `kind` is that of the last try's failure; None if no try failed, or if there is a result. `exchange` is the step of
    the round's trace that has ended with it.
    """

    run: TaskRun
    result: Result | None = None
    reason: str | None = None
    kind: FailureKind | None = None
    traceback: str | None = None
    exchange: Step = UNTRACED

    def trace(self, task: AskedKind, result: TaskResult) -> None:
        """Add the times of a result that was checked to the trace of its round."""
        if self.result is not None:
            self.exchange.worked(task, result.train_seconds, self.result.upload_seconds)
