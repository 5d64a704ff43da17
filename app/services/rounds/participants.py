"""One client's part in a phase of a round: its task at its agent, and what comes of the answer."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.clock import Clock
from app.domain.carrying import began
from app.domain.clients import Client
from app.domain.failures import Failure, FailureKind
from app.domain.parameter_groups import NothingToTrain
from app.domain.rounds import Participation, Round
from app.domain.tasks import Observation, TaskRun
from app.domain.trainings import TrainingConfig
from app.services.rounds.files import FirstModel, RoundFiles
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.model_ledger import ModelLedger
from app.services.rounds.optimiser_states import NoRoomForControl
from app.services.rounds.phase import Phase
from app.services.rounds.results import Results
from app.services.tasks.answers import AgentFailed
from app.services.tasks.assignments import Assignment, TaskOutcome
from app.services.tasks.breakers import Breakers
from app.services.tasks.channels import Channel
from app.services.tasks.crowds import Crowd
from app.services.tasks.dispatch import Dispatcher, NotCalled
from app.sharing import party
from app.store.database import is_outage
from app.store.leases import Lease
from app.store.model_store import ModelStore, StoredFile
from app.threads import in_thread
from tcsfeel.errors import Invalid, UpdateRejected
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.tasks import TaskKind, task_id

Check = Callable[[Phase, Participation, Client, TaskOutcome], Coroutine[Any, Any, tuple[Participation, Observation]]]

FORGET_SECONDS = 10.0
ERRANDS = "errands"  # the party of calls that nothing waits for
NO_MEMORY = "the server did not have the memory to read its answer"


class Participants:
    """Runs clients' tasks and settles what they gave."""

    def __init__(
        self,
        *,
        clock: Clock,
        caller: Channel,
        dispatcher: Dispatcher,
        breakers: Breakers,
        files: RoundFiles,
        ledger: RoundLedger,
        models: ModelLedger,
        results: Results,
    ) -> None:
        self._clock = clock
        self._caller = caller
        self._dispatcher = dispatcher
        self._breakers = breakers
        self._files = files
        self._ledger = ledger
        self._models = models
        self.results = results
        self._errands: set[asyncio.Task[None]] = set()

    async def initial_model(
        self,
        lease: Lease,
        client: Client,
        round_: Round,
        spool: ModelStore,
        patience: float,
        *,
        config: TrainingConfig,
        force: bool,
    ) -> tuple[FirstModel, float]:
        """Ask a client for parameters to begin with, for at most `patience` seconds.

        Gives the file in the model store, and the `since` that `ModelLedger.begin` wants with it. `force` is
        that of `Breaker.admit`.

        Raises:
            AgentFailed: the client could not be asked, or has no model to give.
            NothingToTrain: the `config` leaves nothing to train of its model, which is not the client's fault.
            NoRoomForControl: the `config` has a rule that its model cannot be trained with; nor is that its fault.
            Fenced: the same, and the lease is lost.
        """
        place = spool.within(client.id)
        try:
            asked = task_id(round_.training_id, round_.number, client.id, "model")
            received = await self._initial_model(client, config, place, patience, force=force, asked=asked)
            since = await self._models.now()
            first = await in_thread("files", self._files.adopt_initial, place, received, config)
        except (NothingToTrain, NoRoomForControl):
            raise
        except NotCalled as error:
            raise AgentFailed(f"client {client.id!r}: {error}") from error
        except (AgentFailed, Invalid, WireError, TimeoutError) as error:
            reason = str(error) or "the agent did not answer in time"
            kind: FailureKind = "unreachable" if isinstance(error, TimeoutError) else "faulty"
            failure = Failure(
                phase="initial model",
                training_id=round_.training_id,
                round=round_.number,
                reason=reason,
                kind=error.kind if isinstance(error, AgentFailed) else kind,
            )
            await self._breakers.fail(client.id, failure, under=lease)
            raise AgentFailed(f"client {client.id!r}: {reason}") from error
        except MemoryError as error:
            raise AgentFailed(f"client {client.id!r}: {NO_MEMORY}") from error
        finally:
            await in_thread("files", place.clear)
        if client.breaker.state != "closed":
            await self._breakers.succeed(client.id)
        return first, since

    async def fit(
        self, lease: Lease, phase: Phase, part: Participation, client: Client | None, *, resumed: bool
    ) -> float | None:
        """Train at one client, and settle its participation.

        Gives the instant at which its update was there, None where there is none. `resumed` says that the agent may
        know the task already, so that it is asked before anything is sent.
        """
        return await self._take_part(lease, phase, part, client, self.results.checked, resumed=resumed)

    async def excuse(self, lease: Lease, round_: Round, part: Participation, reason: str) -> None:
        """Settle a participation as skipped for a reason that does not count against its client."""
        part = replace(part, status="skipped", reason=reason, finished_at=self._clock.now())
        await self._ledger.settled(lease, round_, part, Observation(excused=True))

    async def evaluate(
        self, lease: Lease, phase: Phase, part: Participation, client: Client | None, *, resumed: bool
    ) -> float | None:
        """Evaluate at one client, and settle its participation, as `fit` does.

        A client without held-out data is not at fault.
        """
        return await self._take_part(lease, phase, part, client, self.results.measured, resumed=resumed)

    async def recover(self, phase: Phase, assignment: Assignment) -> float | None:
        """Fetch an update once more. The spool names files by content, so nothing but the same update will do."""
        outcome = await self._dispatcher.run(assignment, phase.runs, phase.budget)
        if outcome.result is None:
            return None
        client_id = assignment.client.id
        try:
            if assignment.subtree is None:  # else it is a mean, which is always in full
                await in_thread("checks", phase.full_update, client_id, outcome.result)
        except (UpdateRejected, MemoryError):
            await phase.drop(client_id)
        return self._clock.now()

    def forget(self, clients: Iterable[Client], round_: Round, kind: TaskKind) -> None:
        """Tell agents, without waiting for them, that results are stored or no longer wanted.

        Nothing depends on it: an agent that is not told drops what it has by itself. One whose breaker is open is not.
        """
        begun = {part.client_id: began(part, round_.number) for part in round_.participations if kind == "fit"}
        self.call_off(
            [
                (client, task_id(round_.training_id, begun.get(client.id, round_.number), client.id, kind))
                for client in clients
            ]
        )

    def call_off(self, tasks: Sequence[tuple[Client, str]]) -> None:
        """Tell agents, without waiting for them, that tasks are no longer wanted, each by its id."""
        if tasks:
            self._run_errand(self._forget(tasks))

    def empty_spool(self, round_: Round) -> None:
        """Remove what agents have sent in a round that has ended, without waiting for it."""
        self._run_errand(in_thread("files", self._files.recycle_spool, round_.training_id, round_.number))

    async def drain(self) -> None:
        """Wait for errands at agents that are still under way."""
        await asyncio.gather(*self._errands, return_exceptions=True)

    def _run_errand(self, work: Coroutine[Any, Any, None]) -> None:
        with party(ERRANDS):  # which the tasks of the next round must not have to wait for
            errand = asyncio.create_task(work)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _initial_model(
        self, client: Client, config: TrainingConfig, place: ModelStore, patience: float, *, force: bool, asked: str
    ) -> StoredFile:
        """Raises `NotCalled` where the client was not asked."""
        async with nullcontext() if client.endpoint.pulls else self._dispatcher.place(patience):
            if not await self._breakers.admit(client.id, patience, force=force):
                raise NotCalled("its breaker is not closed")
            async with asyncio.timeout(patience):
                return await self._caller.initial_model(
                    client.endpoint, place, local=config.parameters.local, task_id=asked
                )

    async def _forget(self, tasks: Sequence[tuple[Client, str]]) -> None:
        """Tell every client at once to forget its task."""
        try:
            stored = await self._breakers.look_at([client.id for client, _ in tasks])
        except (SQLAlchemyError, OSError) as error:
            if not is_outage(error):
                raise
            return

        async def tell(client: Client, task: str) -> None:
            with contextlib.suppress(TimeoutError):
                async with self._dispatcher.place(), asyncio.timeout(FORGET_SECONDS):
                    await self._caller.forget(client.endpoint, task)

        shut_out = {client.id for client in stored.values() if client.breaker.state == "open"}
        now = [(stored.get(client.id, client), task) for client, task in tasks]  # they may have moved meanwhile
        telling = Crowd(
            tell(client, task) for client, task in now if client.endpoint.pulls or client.id not in shut_out
        )
        try:
            await asyncio.gather(*await telling.begin())
        finally:
            await telling.end()

    async def _take_part(
        self, lease: Lease, phase: Phase, part: Participation, client: Client | None, check: Check, *, resumed: bool
    ) -> float | None:
        run, seen = TaskRun(), Observation()
        if client is None:
            part = replace(part, status="failed", reason="the client was removed")
        else:
            assignment = phase.assignment(client, self._clock.now(), part, resumed=resumed)
            try:
                outcome = await self._dispatcher.run(assignment, phase.runs, phase.budget)
                part, seen = await check(phase, part, client, outcome)
            except MemoryError:
                part = replace(part, status="failed", reason=NO_MEMORY)
                seen = Observation(excused=True, bandwidth=phase.runs[client.id].bandwidth)
            run = phase.runs[client.id]
            if part.status != "received":
                await phase.drop(client.id)
        now = self._clock.now()
        part = run.charged(part, seconds=run.seconds(now), finished_at=now)
        written = await self._ledger.settled(lease, phase.round_, part, seen)
        return part.finished_at if written and part.status == "received" else None
