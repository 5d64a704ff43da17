"""One client's part in a phase of a round: its task at its agent, and what comes of the answer."""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.exc import SQLAlchemyError

from app.clock import Clock
from app.domain.aggregation import update_quality
from app.domain.breaker import Failure, FailurePhase
from app.domain.clients import Client
from app.domain.errors import Invalid, UpdateRejected
from app.domain.retries import RetryBudget
from app.domain.rounds import Participation, Round
from app.domain.trainings import TrainingConfig, Uploads
from app.services.agents import AgentCaller, AgentFailed
from app.services.breakers import Breakers
from app.services.dispatch import Assignment, Dispatcher, TaskRun
from app.services.rounds.files import RoundFiles
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.uploads import Expanded, full_update
from app.store.database import is_outage
from app.store.leases import Lease
from app.store.model_store import ModelStore, StoredFile
from app.threads import in_thread
from app.wire.codec import Packed
from app.wire.compression import IDENTITY, largest
from app.wire.errors import WireError
from app.wire.sizes import AnswerSize
from app.wire.tasks import Task, TaskKind, TaskResult, task_id

FORGET_SECONDS = 10.0
NO_MEMORY = "the server did not have the memory to read its answer"


@dataclass(frozen=True, slots=True)
class Phase:
    """What all tasks of one phase share. `deadline` is in unix seconds, `runs` are by client.

    `size` is what an answer may have; each client's lies in a place of its own in `spool`.
    """

    value: Round
    kind: TaskKind
    config: TrainingConfig
    model: Packed
    size: AnswerSize
    spool: ModelStore
    budget: RetryBudget
    deadline: float
    runs: dict[str, TaskRun] = field(default_factory=dict)

    @property
    def traffic(self) -> int:
        """Bytes of bodies, both ways."""
        return sum(run.bytes_sent + run.bytes_received for run in self.runs.values())

    def assignment(self, client: Client, now: float) -> Assignment:
        """One client's task, the same for every owner but for the seconds that it has left, which are at least 1."""
        task = Task(
            id=task_id(self.value.training_id, self.value.number, client.id, self.kind),
            kind=self.kind,
            training_id=self.value.training_id,
            round=self.value.number,
            hyperparameters=dict(self.config.hyperparameters),
            deadline_seconds=max(1.0, self.deadline - now),
            update_encoding=self.uploads.encoding,
        )
        accept = IDENTITY if self.uploads.compression == "none" else self.uploads.compression
        return Assignment(
            client, task, self.model, self.place(client.id), accept, largest(self.size.file_bytes, accept)
        )

    def place(self, client_id: str) -> ModelStore:
        """Where the answer of one client is kept, until it is refused or the round has ended."""
        return self.spool.within(client_id)

    def failure(self, reason: str) -> Failure:
        """What a client's breaker is told when its result was rejected."""
        return _failure(self.value, self.kind, reason)

    @property
    def uploads(self) -> Uploads:
        """How updates may come; measurements are small."""
        return self.config.uploads if self.kind == "fit" else Uploads()

    async def full_update(self, client_id: str, upload: StoredFile, coding: str) -> Expanded:
        """An upload in full; see `full_update`. Raises `UpdateRejected`."""
        if self.uploads == Uploads():
            return Expanded(upload, "full")
        return await in_thread(
            "checks",
            full_update,
            self.place(client_id),
            upload,
            self.model,
            self.size,
            encoding=self.uploads.encoding,
            coding=coding,
        )

    async def drop(self, client_id: str) -> None:
        """Remove what a client sent: nobody wants it."""
        await in_thread("files", self.place(client_id).clear)


class Participants:
    """Runs clients' tasks and settles what they gave."""

    def __init__(
        self,
        *,
        clock: Clock,
        caller: AgentCaller,
        dispatcher: Dispatcher,
        breakers: Breakers,
        files: RoundFiles,
        ledger: RoundLedger,
    ) -> None:
        self._clock = clock
        self._caller = caller
        self._dispatcher = dispatcher
        self._breakers = breakers
        self._files = files
        self._ledger = ledger
        self._errands: set[asyncio.Task[None]] = set()

    async def initial_model(
        self, client: Client, value: Round, spool: ModelStore, patience: float, *, force: bool
    ) -> tuple[StoredFile, float]:
        """Ask a client for parameters to begin with, for at most `patience` seconds.

        Gives the file in the model store, and the `since` that `RoundLedger.initial_model` wants with it. `force` is
        that of `Breaker.admit`.

        Raises:
            AgentFailed: the client could not be asked, or has no model to give.
        """
        if not await self._breakers.admit(client.id, patience, force=force):
            raise AgentFailed(f"the breaker of client {client.id!r} is not closed")
        place = spool.within(client.id)
        try:
            async with asyncio.timeout(patience):
                received = await self._caller.initial_model(client.profile, place)
            since = await self._ledger.now()
            stored = await in_thread("files", self._files.adopt_initial, place, received)
        except (AgentFailed, Invalid, WireError, TimeoutError) as error:
            reason = str(error) or "did not answer in time"
            await self._breakers.fail(client.id, _failure(value, "initial model", reason))
            raise AgentFailed(f"client {client.id!r}: {reason}") from error
        except MemoryError as error:
            raise AgentFailed(f"client {client.id!r}: {NO_MEMORY}") from error
        finally:
            await in_thread("files", place.clear)
        if client.breaker.state != "closed":
            await self._breakers.succeed(client.id)
        return stored, since

    async def fit(
        self, lease: Lease, phase: Phase, part: Participation, client: Client | None, *, resumed: bool
    ) -> float | None:
        """Train at one client, and settle its participation. The instant of its arrival, None without an update.

        `resumed`: the agent may know the task already, so it is asked before anything is sent.
        """
        run = TaskRun(attempts=part.attempts if resumed else 0)
        if client is None:
            run.reason = "the client was removed"
        else:
            phase.runs[client.id] = run
            try:
                await self._dispatcher.run(run, phase.assignment(client, self._clock.now()), phase.budget)
                part = await self._checked(phase, part, client, run)
            except MemoryError:
                run.file, run.reason = None, NO_MEMORY
            if part.status != "received":
                await phase.drop(client.id)
        if part.status != "received":
            part = replace(part, status="rejected" if run.file is not None else "failed", reason=run.reason)
        part = replace(
            part,
            attempts=max(part.attempts, run.attempts),
            bytes_sent=part.bytes_sent + run.bytes_sent,
            bytes_received=part.bytes_received + run.bytes_received,
            seconds=None if client is None else self._clock.now() - run.started_at,
            finished_at=self._clock.now(),
        )
        written = await self._ledger.settled(lease, phase.value, part, run)
        return part.finished_at if written and part.status == "received" else None

    async def recover(self, phase: Phase, part: Participation, client: Client) -> float | None:
        """Fetch an update once more. The spool names files by content, so nothing but the same update will do."""
        run = TaskRun(attempts=part.attempts)
        await self._dispatcher.run(run, phase.assignment(client, self._clock.now()), phase.budget)
        if run.file is None:
            return None
        try:
            await phase.full_update(client.id, run.file, run.coding)
        except (UpdateRejected, MemoryError):
            await phase.drop(client.id)
        return self._clock.now()

    async def evaluate(self, phase: Phase, client: Client, measured: dict[str, TaskResult]) -> float | None:
        """Evaluate at one client into `measured`. The instant of its arrival, None without a measurement."""
        run = TaskRun()
        phase.runs[client.id] = run
        try:
            await self._dispatcher.run(run, phase.assignment(client, self._clock.now()), phase.budget)
            if run.file is None:
                return None
            data_size = client.profile.data_size
            measured[client.id] = await in_thread(
                "checks", self._files.measurement, phase.place(client.id), run.file, phase.size, data_size
            )
        except UpdateRejected as error:
            await self._breakers.fail(client.id, phase.failure(str(error)))
            return None
        except MemoryError:
            run.reason = NO_MEMORY
            return None
        finally:
            await phase.drop(client.id)
        if run.attempts > 1 or client.breaker.consecutive_failures:
            await self._breakers.succeed(client.id)
        return self._clock.now()

    def forget(self, clients: Iterable[Client], value: Round, kind: TaskKind) -> None:
        """Tell agents, without waiting for them, that results are stored or no longer wanted.

        Nothing depends on it: an agent that is not told drops what it has by itself. One whose breaker is open is not.
        """
        tasks = [(client, task_id(value.training_id, value.number, client.id, kind)) for client in clients]
        if tasks:
            errand = asyncio.create_task(self._forget(tasks))
            self._errands.add(errand)
            errand.add_done_callback(self._errands.discard)

    async def drain(self) -> None:
        """Wait for errands at agents that are still under way."""
        await asyncio.gather(*self._errands, return_exceptions=True)

    async def _forget(self, tasks: Sequence[tuple[Client, str]]) -> None:
        """Tell every client at once to forget its task."""
        try:
            shut_out = await self._breakers.open_among([client.id for client, _ in tasks])
        except (SQLAlchemyError, OSError) as error:
            if not is_outage(error):
                raise
            return

        async def tell(client: Client, task: str) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FORGET_SECONDS):
                    await self._dispatcher.forget(client, task)

        await asyncio.gather(*(tell(client, task) for client, task in tasks if client.id not in shut_out))

    async def _checked(self, phase: Phase, part: Participation, client: Client, run: TaskRun) -> Participation:
        """The participation with its update checked; a bad one counts against the client."""
        if run.file is None:
            return part
        data_size = client.profile.data_size
        try:
            update, run.encoding = await phase.full_update(client.id, run.file, run.coding)
            result = await in_thread(
                "checks", self._files.check, phase.place(client.id), update, phase.model, phase.size, data_size
            )
        except UpdateRejected as error:
            run.reason = str(error)
            await self._breakers.fail(client.id, phase.failure(run.reason))
            return part
        run.train_seconds, run.quality = result.train_seconds, update_quality(result.loss)
        if client.profile.data_distribution is None:
            run.sketch = await in_thread("checks", self._files.sketch, phase.place(client.id), update, phase.model)
        return replace(
            part,
            status="received",
            reason=None,
            num_examples=result.num_examples,
            loss=result.loss,
            accuracy=result.accuracy,
            update=update.sha256,
        )


def _failure(value: Round, phase: FailurePhase, reason: str) -> Failure:
    return Failure(phase=phase, training_id=value.training_id, round=value.number, reason=reason)
