"""What the tasks of one phase of a round have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app.domain.clients import Client
from app.domain.failures import Failure
from app.domain.local_work import handover_margin, takes_partial
from app.domain.retries import RetryBudget
from app.domain.rounds import Participation, Round
from app.domain.tasks import TaskRun
from app.domain.trainings import TrainingConfig, Uploads
from app.services.rounds.moving import moved
from app.services.rounds.uploads import FullUpdate, full_update
from app.services.tasks.assignments import Assignment, Frozen, Result
from app.services.tasks.blocks import BLOCK_BYTES
from app.store.leases import Lease
from app.store.model_store import StoredFile
from app.store.spools import SMALL_BYTES, Spool
from app.threads import in_thread
from tcsfeel.errors import UpdateRejected
from tcsfeel.wire.codec import Packed
from tcsfeel.wire.compression import IDENTITY, largest
from tcsfeel.wire.headers import LENGTH
from tcsfeel.wire.sizes import AnswerSize
from tcsfeel.wire.tasks import Scalar, Task, TaskKind, task_id

SHORT_HEADER_BYTES = 1 << 12
"""The length of a header that is parsed in 3 ms, even if it consists of as many entries as it can hold."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What all tasks of one phase share. `deadline` is in unix seconds, `runs` are by client, `lease` is its owner's.

    `model` has the tensors that updates hold, and `frozen` those that they do not, if there are some. `size` is what an
    answer may have; each client's lies in a place of its own in `spool`. With SCAFFOLD, `controlled` is `model`
    with the server's control variates, and `counted` has the last round of each client whose update the server used.

    The tasks of a phase with `begun_in` were carried from that round: `model` is the one that they began with, and
    `present` the model of the round, to which their updates are moved. `more_seconds` is the time beyond the round for
    which tasks may be wanted. `file` is that of `model`, as in `ToSend`.
    """

    lease: Lease
    round_: Round
    kind: TaskKind
    config: TrainingConfig
    model: Packed
    size: AnswerSize
    spool: Spool
    budget: RetryBudget
    deadline: float
    frozen: Frozen | None = None
    runs: dict[str, TaskRun] = field(default_factory=dict)
    controlled: Packed | None = None
    counted: Mapping[str, int] = field(default_factory=dict)
    begun_in: int | None = None
    present: Packed | None = None
    more_seconds: float = 0.0
    file: StoredFile | None = None

    @property
    def compared(self) -> Packed:
        """The model with which updates are compared: that of the round."""
        return self.model if self.present is None else self.present

    def assignment(
        self, client: Client, now: float, part: Participation | None = None, *, resumed: bool = False
    ) -> Assignment:
        """Give one client's task, the same for every owner but for the seconds that it has left, which are at least 1.

        `part` is its participation as it is stored, and `resumed` is that of `TaskRun`.
        """
        number = self.begun_in or self.round_.number
        seconds = max(1.0, self.deadline - now) + self.more_seconds
        task = Task(
            id=task_id(self.round_.training_id, number, client.id, self.kind),
            kind=self.kind,
            training_id=self.round_.training_id,
            round=number,
            hyperparameters=self._hyperparameters(part),
            deadline_seconds=seconds,
            update_encoding=self.uploads.encoding,
            local_tensors=self.config.parameters.local,
            frozen_tensors=() if self.frozen is None else self.config.parameters.frozen,
            frozen_id="" if self.frozen is None else self.frozen.id,
            control_round=None if self.controlled is None else self.counted.get(client.id, 0),
            partial_margin=handover_margin(seconds, self.transfer_seconds(client)) if self.takes_partial else 0.0,
        )
        accept = IDENTITY if self.uploads.compression == "none" else self.uploads.compression
        return Assignment(
            client=client,
            task=task,
            model=self.controlled or self.model,
            spool=self.place(client.id),
            frozen=self.frozen,
            accept=accept,
            limit=largest(self.size.file_bytes, accept),
            lease=self.lease,
            run=replace(TaskRun() if part is None else TaskRun.of(part), resumed=resumed),
            file=self.file if self.controlled is None else None,
        )

    def _hyperparameters(self, part: Participation | None) -> dict[str, Scalar]:
        """Return those of a client's task, which may ask for fewer local epochs than the training."""
        found = dict(self.config.hyperparameters)
        if part is not None and part.local_epochs is not None:
            found["local_epochs"] = part.local_epochs
        return found

    @property
    def takes_partial(self) -> bool:
        """Whether its tasks take a part of their work."""
        return self.kind == "fit" and takes_partial(self.config)

    def transfer_seconds(self, client: Client) -> float:
        """Return how many seconds the model is expected to travel to a client."""
        return client.candidate().transfer_seconds(len(self.model.block))

    def place(self, client_id: str) -> Spool:
        """Where the answer of one client is kept, until it is refused or the round has ended."""
        return self.spool.within(client_id)

    def is_soon_checked(self, client: Client, came: Result) -> bool:
        """Tell whether an answer can be checked without a thread, in little more than 1 ms.

        It is not compressed, its header is short, and it is in memory, or it is a full update of not much more than
        1 MB that was written just now. An update is also compared with the model, tensor by tensor, so the model must
        not be larger, nor have more tensors; nor more values, if the client has no labels and its update is sketched.
        A small answer to a large model is expanded first, or is wrong.
        """
        place, name = self.place(client.id), came.file.sha256
        if came.coding != IDENTITY:
            return False
        if self.kind == "evaluate" or came.file.size <= SMALL_BYTES:
            fits = place.holds(name) and (self.kind == "evaluate" or _has_at_most(SMALL_BYTES, self.model))
        else:
            is_plain = self.uploads.encoding == "full" and self.present is None
            fits = is_plain and came.file.size <= BLOCK_BYTES and _has_at_most(BLOCK_BYTES, self.model)
            fits = fits and (client.profile.data_distribution is not None or _is_soon_sketched(self.model))
        return fits and _is_soon_parsed(place.map(name))

    def failure(self, reason: str) -> Failure:
        """What a client's breaker is told when its result was rejected."""
        return Failure(phase=self.kind, training_id=self.round_.training_id, round=self.round_.number, reason=reason)

    @property
    def uploads(self) -> Uploads:
        """How updates may come; measurements are small."""
        return self.config.uploads if self.kind == "fit" else Uploads()

    def full_update(self, client_id: str, came: Result) -> FullUpdate:
        """Give a client's update in full; see `full_update`. It blocks. Raises `UpdateRejected`.

        That of a carried task is moved to the model of the round; see `moved`.
        """
        place = self.place(client_id)
        update = full_update(
            place,
            came.file,
            self.model,
            self.size,
            encoding=self.uploads.encoding,
            coding=came.coding,
        )
        if update.result.partial and not self.takes_partial:
            raise UpdateRejected("its result is partial, which was not offered")
        if self.present is None:
            return update
        return moved(place, update, self.model, self.present, self.config.statistics)

    def over(self, client_id: str) -> None:
        """Note that a client's task has ended without an update that counts."""
        self.runs[client_id] = replace(self.runs.get(client_id, TaskRun()), over=True)

    async def drop(self, client_id: str) -> None:
        """Remove what a client sent: nobody wants it."""
        await in_thread("files", self.place(client_id).clear)


def _has_at_most(size: int, model: Packed) -> bool:
    """Tell whether an update to the model has at most so many bytes, and as few tensors as a short header names."""
    block, entries = len(model.block), len(model.entries)
    return entries <= SHORT_HEADER_BYTES and block + entries <= size


def _is_soon_sketched(model: Packed) -> bool:
    """Tell whether a model has no more values than a full block of float32, which are sketched in 0.9 ms."""
    return 4 * sum(tensor.size for tensor in model.parameters().values()) <= BLOCK_BYTES


def _is_soon_parsed(file: memoryview) -> bool:
    """Tell whether a file announces a short header, if it has one at all."""
    return len(file) < LENGTH.size or LENGTH.unpack_from(file)[0] <= SHORT_HEADER_BYTES
