"""One client's part in a phase of a round: its task at its agent, and what comes of the answer."""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from app.clock import Clock
from app.domain.breaker import Failure
from app.domain.clients import Client
from app.domain.evaluations import NOTHING_HELD_OUT, Evaluation
from app.domain.rounds import Participation, Round
from app.services.rounds.files import RoundFiles
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.model_ledger import ModelLedger
from app.services.rounds.phase import Phase
from app.services.tasks.agents import AgentCaller, AgentFailed
from app.services.tasks.breakers import Breakers
from app.services.tasks.crowds import Crowd
from app.services.tasks.dispatch import Dispatcher, NotCalled
from app.services.tasks.run import TaskRun
from app.sharing import party
from app.store.database import is_outage
from app.store.leases import Lease
from app.store.model_store import ModelStore, StoredFile
from app.threads import in_thread
from tcsfeel.aggregation import update_quality
from tcsfeel.errors import Invalid, UpdateRejected
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.tasks import TaskKind, task_id

FORGET_SECONDS = 10.0
ERRANDS = "errands"  # the party of calls that nothing waits for
NO_MEMORY = "the server did not have the memory to read its answer"


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
        models: ModelLedger,
    ) -> None:
        self._clock = clock
        self._caller = caller
        self._dispatcher = dispatcher
        self._breakers = breakers
        self._files = files
        self._ledger = ledger
        self._models = models
        self._errands: set[asyncio.Task[None]] = set()

    async def initial_model(
        self, lease: Lease, client: Client, round_: Round, spool: ModelStore, patience: float, *, force: bool
    ) -> tuple[StoredFile, float]:
        """Ask a client for parameters to begin with, for at most `patience` seconds.

        Gives the file in the model store, and the `since` that `ModelLedger.begin` wants with it. `force` is
        that of `Breaker.admit`.

        Raises:
            AgentFailed: the client could not be asked, or has no model to give.
            Fenced: the same, and the lease is lost.
        """
        place = spool.within(client.id)
        try:
            received = await self._initial_model(client, place, patience, force=force)
            since = await self._models.now()
            stored = await in_thread("files", self._files.adopt_initial, place, received)
        except NotCalled as error:
            raise AgentFailed(f"client {client.id!r}: {error}") from error
        except (AgentFailed, Invalid, WireError, TimeoutError) as error:
            reason = str(error) or "the agent did not answer in time"
            await self._breakers.fail(
                client.id,
                Failure(phase="initial model", training_id=round_.training_id, round=round_.number, reason=reason),
                under=lease,
            )
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
        run = TaskRun.of(part, resumed=resumed)
        if client is None:
            run.reason = "the client was removed"
        else:
            phase.runs[client.id] = run
            try:
                await self._dispatcher.run(run, phase.assignment(client, self._clock.now()), phase.budget)
                part = await self._checked(phase, part, client, run)
            except MemoryError:
                run.file, run.reason, run.excused = None, NO_MEMORY, True
            if part.status != "received":
                await phase.drop(client.id)
        if part.status != "received":
            part = replace(part, status="rejected" if run.file is not None else "failed", reason=run.reason)
        now = self._clock.now()
        part = replace(run.charged(part), seconds=run.seconds(now), finished_at=now)
        written = await self._ledger.settled(lease, phase.round_, part, run)
        return part.finished_at if written and part.status == "received" else None

    async def recover(self, phase: Phase, part: Participation, client: Client) -> float | None:
        """Fetch an update once more. The spool names files by content, so nothing but the same update will do."""
        run = TaskRun.of(part, resumed=True)
        phase.runs[client.id] = run
        await self._dispatcher.run(run, phase.assignment(client, self._clock.now()), phase.budget)
        if run.file is None:
            return None
        try:
            await phase.full_update(client.id, run.file, run.coding)
        except (UpdateRejected, MemoryError):
            await phase.drop(client.id)
        return self._clock.now()

    async def evaluate(self, phase: Phase, client: Client, ended: dict[str, Evaluation]) -> float | None:
        """Evaluate at one client, and put its result into `ended`.

        Gives the instant of its arrival, None without a measurement. A client without held-out data is not at fault.
        """
        run = TaskRun()
        phase.runs[client.id] = run
        try:
            await self._dispatcher.run(run, phase.assignment(client, self._clock.now()), phase.budget)
            came = await self._measured(phase, client, run)
        except MemoryError:
            came = Evaluation(client_id=client.id, status="failed", reason=NO_MEMORY)
        if came.status != "received":
            await phase.drop(client.id)
        ended[client.id] = replace(
            came,
            attempts=run.attempts,
            seconds=run.seconds(self._clock.now()),
            bytes_sent=run.bytes_sent,
            bytes_received=run.bytes_received,
        )
        if came.status != "received":
            return None
        if run.attempts > 1 or client.breaker.consecutive_failures:
            await self._breakers.succeed(client.id)
        return self._clock.now()

    def forget(self, clients: Iterable[Client], round_: Round, kind: TaskKind) -> None:
        """Tell agents, without waiting for them, that results are stored or no longer wanted.

        Nothing depends on it: an agent that is not told drops what it has by itself. One whose breaker is open is not.
        """
        tasks = [(client, task_id(round_.training_id, round_.number, client.id, kind)) for client in clients]
        if tasks:
            with party(ERRANDS):  # which the tasks of the next round must not have to wait for
                errand = asyncio.create_task(self._forget(tasks))
            self._errands.add(errand)
            errand.add_done_callback(self._errands.discard)

    async def drain(self) -> None:
        """Wait for errands at agents that are still under way."""
        await asyncio.gather(*self._errands, return_exceptions=True)

    async def _initial_model(self, client: Client, place: ModelStore, patience: float, *, force: bool) -> StoredFile:
        """Raises `NotCalled` where the client was not asked."""
        async with self._dispatcher.place(patience):
            if not await self._breakers.admit(client.id, patience, force=force):
                raise NotCalled("its breaker is not closed")
            async with asyncio.timeout(patience):
                return await self._caller.initial_model(client.profile, place)

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
                    await self._caller.forget(client.profile, task)

        shut_out = {client.id for client in stored.values() if client.breaker.state == "open"}
        now = [(stored.get(client.id, client), task) for client, task in tasks]  # they may have moved meanwhile
        telling = Crowd(tell(client, task) for client, task in now if client.id not in shut_out)
        try:
            await asyncio.gather(*await telling.begin())
        finally:
            await telling.end()

    async def _measured(self, phase: Phase, client: Client, run: TaskRun) -> Evaluation:
        """What a client measured, checked; a bad answer counts against it."""
        if run.file is None:
            return Evaluation(client_id=client.id, status="failed", reason=run.reason)
        data_size = client.profile.data_size
        try:
            result = await in_thread(
                "checks", self._files.measurement, phase.place(client.id), run.file, phase.size, data_size
            )
        except UpdateRejected as error:
            await self._breakers.fail(client.id, phase.failure(str(error)), under=phase.lease)
            return Evaluation(client_id=client.id, status="rejected", reason=str(error))
        if result is None:
            return Evaluation(client_id=client.id, status="skipped", reason=NOTHING_HELD_OUT, num_examples=0)
        return Evaluation(
            client_id=client.id,
            status="received",
            num_examples=result.num_examples,
            loss=result.loss,
            accuracy=result.accuracy,
        )

    async def _checked(self, phase: Phase, part: Participation, client: Client, run: TaskRun) -> Participation:
        """The participation with its update checked; a bad one counts against the client."""
        if run.file is None:
            return part
        data_size = client.profile.data_size
        try:
            update, run.encoding = await phase.full_update(client.id, run.file, run.coding)
            result, norm = await in_thread(
                "checks", self._files.check, phase.place(client.id), update, phase.model, phase.size, data_size
            )
        except UpdateRejected as error:
            run.reason = str(error)
            await self._breakers.fail(client.id, phase.failure(run.reason), under=phase.lease)
            return part
        transfer = client.candidate().transfer_seconds(len(phase.model.block))
        run.train_seconds = max(result.train_seconds, run.watch.seconds - transfer)
        run.quality = update_quality(result.loss)
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
            update_norm=norm,
        )
