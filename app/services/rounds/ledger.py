"""The facts of a round: every transition, and every write in between, as one transaction that the lease guards.

This is where "killed at any instant" is decided. `OwnedTransactions` begin with `guard`: an owner whose lease is
gone gets `Fenced` and writes nothing. What is written once stays: a participation is settled only while it is
outstanding, a round has one model version, and that version, the round's step and the training's pointer to its model
move together. Whoever comes next finds the round at the last status written here. `since` is that of `ModelLedger`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType

from app.clock import Clock
from app.domain.events.rounds import RoundAggregated, end_of_part, planned_of
from app.domain.lateness import LATE
from app.domain.local_work import begun
from app.domain.rounds import Participation, Round, RoundEvent, goal_count, next_status
from app.domain.tasks import Observation, TaskRun
from app.metrics import Metrics
from app.services.rounds.costs import charge
from app.services.rounds.ending import RoundEnding
from app.services.rounds.fleets import Fleet
from app.services.rounds.model_ledger import ModelLedger
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.progress import ProgressRecord
from app.services.rounds.record import TrackRecord
from app.services.rounds.settling import Settling
from app.services.rounds.transitions import Ended, Transitions
from app.store.database import Database
from app.store.leases import Lease
from app.store.model_store import StoredFile
from app.store.selections import packed
from app.store.transaction import Transaction
from app.threads import in_thread
from tcsfeel.selection.types import Selection

FEW = 32  # clients, whose selection is packed in some 1 ms


class PlanOvertaken(Exception):
    """The fleet has changed under the plan: plan again."""


class RoundLedger:
    """Writes for the owner of a training, who then knows it. Whatever writes raises `Fenced` once the lease is lost."""

    def __init__(
        self,
        *,
        db: Database,
        owned: OwnedTransactions,
        models: ModelLedger,
        clock: Clock,
        record: TrackRecord,
        ending: RoundEnding,
        progress: ProgressRecord,
        metrics: Metrics,
    ) -> None:
        self._db = db
        self._owned = owned
        self.known = owned.known
        self._models = models
        self._clock = clock
        self._record = record
        self._ending = ending
        self._progress = progress
        self._metrics = metrics
        self._transitions = Transitions(owned=owned, ending=ending, progress=progress, clock=clock)
        self.settling = Settling(
            owned=owned,
            progress=progress.moved_after_stall,
            freeze=self._transitions.freeze_if_enough,
            clock=clock,
            record=record,
            metrics=metrics,
        )

    async def planned(  # noqa: PLR0917  (what a plan consists of)
        self, lease: Lease, round_: Round, model: str, selection: Selection, fleet: Fleet, epochs: Mapping[str, int]
    ) -> Round:
        """Selecting -> training: who takes part, before the first byte goes out. Open breakers give permits.

        From here on the agents may know their tasks. `epochs` are those of `planned_epochs`.

        Raises:
            PlanOvertaken: a selected client is gone or busy by now, or the fleet's carried tasks are not the open ones.
        """
        few = max(len(selection.selected), len(selection.skipped)) <= FEW
        document = packed(selection) if few else await in_thread("administration", packed, selection)
        async with self._owned.begin(lease) as tx:
            training = await tx.trainings.get(round_.training_id)
            clients = await tx.clients.lock(selection.client_ids)
            busy = await tx.rounds.busy_clients(except_training=training.id)
            if len(clients) < len(selection.selected) or busy & set(selection.client_ids):
                raise PlanOvertaken
            if (carried := await self._ending.carrying.take_in(tx, round_, fleet.carried)) is None:
                raise PlanOvertaken
            round_ = replace(
                round_,
                status=next_status(round_.status, "planned"),
                step_failures=0,
                takeovers=0,
                plan=selection.plan,
                goal=goal_count(len(selection.selected) + len(carried), training.config.round_policy),
                base_model=model,
                connectivity_version=fleet.connectivity.version,
                communication_cost=selection.total_cost,
                label_divergence=selection.label_divergence,
                population=fleet.population,
                participations=(*begun(selection, epochs), *carried),
            )
            await tx.rounds.put(round_)
            await self._progress.keep(tx, training, self._progress.moving(training))
            await tx.rounds.add_participations(round_)
            await tx.selections.add(round_.training_id, round_.number, document)
            await self._record.selected(tx, clients, round_.deadline_at, forced=fleet.forced)
            await tx.events.append(planned_of(round_))
        self.known(lease).planned(clients)
        return round_

    async def charged(self, lease: Lease, round_: Round, runs: Mapping[str, TaskRun]) -> Round:
        """Add what tasks have cost to participations that have ended, and give the round with them."""
        async with self._owned.begin(lease) as tx:
            await charge(tx, round_, runs)
            stored = await tx.rounds.get(round_.training_id, round_.number)
        return replace(round_, participations=stored.participations)

    async def handed_over(self, lease: Lease, round_: Round) -> Round:
        """Hand the pending participations over that an earlier version of the server has planned."""
        async with self._owned.begin(lease) as tx:
            await tx.rounds.hand_over(round_.training_id, round_.number)
            return await tx.rounds.get(round_.training_id, round_.number)

    async def settled(self, lease: Lease, round_: Round, part: Participation, seen: Observation) -> bool:
        """A participation came to its end; it is written with those that come meanwhile. False where it had one."""
        return await self.settling.settle(lease, round_, part, seen)

    async def frozen(self, lease: Lease, round_: Round, runs: Mapping[str, TaskRun]) -> Round:
        """Training -> aggregating: the set of updates is fixed. `runs` are those of the phase, by client.

        This has happened already if there are no stragglers, in the transaction that stored the last update.
        """
        known = self.known(lease)
        if (frozen := known.frozen) is not None:
            known.frozen = None
            return frozen
        async with self._without_stragglers(lease, round_, "frozen", LATE, runs, carry=True) as (tx, skipped):
            return await self._transitions.freeze(tx, lease, skipped)

    async def rejected(self, lease: Lease, round_: Round, reasons: Mapping[str, str]) -> Round:
        """Turn received updates into rejected ones, each client with its reason, before they are aggregated."""
        async with self._owned.begin(lease) as tx:
            rejected = set(await tx.rounds.reject(round_.training_id, round_.number, reasons))
            await self._record.take_back(tx, round_, {client_id: reasons[client_id] for client_id in rejected})
            stored = await tx.rounds.get(round_.training_id, round_.number)
            for part in stored.participations:
                if part.client_id in rejected:
                    await tx.events.append(end_of_part(stored, part))
        self._metrics.participations.labels("rejected").inc(len(rejected))
        return stored

    async def committed(
        self,
        lease: Lease,
        round_: Round,
        stored: StoredFile,
        optimiser_state: str | None = None,
        *,
        since: float,
        ends: bool = False,
    ) -> Round:
        """Aggregating -> evaluating: the new model version, the round's step and the training's pointer, together.

        With `ends` the model is not evaluated, and the round is completed at once. It has its figures already.
        """
        ended: Ended | None = None
        async with self._owned.begin(lease) as tx:
            before = await tx.trainings.get(round_.training_id)
            round_ = replace(
                round_,
                status=next_status(round_.status, "committed"),
                model=stored.sha256,
                step_failures=0,
                takeovers=0,
            )
            after, version = await self._models.add(
                tx,
                self._progress.moving(before),
                round_.number,
                stored,
                since=since,
                parent=round_.base_model,
                optimiser_state=optimiser_state,
            )
            await self._progress.report(tx, before, after)
            await tx.events.append(
                RoundAggregated(
                    training_id=round_.training_id, round=round_.number, model=stored.sha256, parent=round_.base_model
                )
            )
            if ends:
                ended = await self._transitions.close(tx, lease, round_, "measured", after)
            else:
                await tx.trainings.put(after)
                await tx.rounds.put(round_)
        self.known(lease).version = version
        return round_ if ended is None else self._transitions.ended(lease, ended)

    async def abandoned(
        self,
        lease: Lease,
        round_: Round,
        reason: str,
        runs: Mapping[str, TaskRun] = MappingProxyType({}),
        *,
        at_fault: bool = True,
        selection: bytes | None = None,
        outage: bool = False,
        carry: bool = True,
    ) -> Round:
        """Selecting, training, aggregating -> abandoned: the global model does not change.

        `at_fault` says whether silent clients count as late; `selection` is a document of `packed`, for a round without
        a plan; `outage` says that agents could not be reached; without `carry` no task goes on into another round.
        """
        skipping = self._without_stragglers(
            lease, round_, "abandoned", "the round was abandoned", runs, at_fault=at_fault, carry=carry
        )
        async with skipping as (tx, skipped):
            if selection is not None:
                await tx.selections.add(round_.training_id, round_.number, selection)
            training, whole = await tx.trainings.get(round_.training_id), replace(skipped, failure_reason=reason)
            ended = await self._transitions.close(tx, lease, whole, "abandoned", training, outage=outage)
        return self._transitions.ended(lease, ended)

    async def asked(self, lease: Lease, round_: Round, client_ids: Sequence[str]) -> Round:
        """Store who is asked to evaluate. From here on these agents may know their tasks."""
        asked = (Participation(client_id=client_id, kind="evaluate", status="training") for client_id in client_ids)
        round_ = replace(round_, evaluations=tuple(asked))
        async with self._owned.begin(lease) as tx:
            await tx.rounds.add_evaluations(round_)
        return round_

    async def evaluated(
        self,
        lease: Lease,
        round_: Round,
        runs: Mapping[str, TaskRun],
        *,
        reason: str = LATE,
        at_fault: bool = True,
    ) -> Round:
        """Wait for no evaluation any more. Returns the round with its evaluations, all of which have ended.

        The round keeps its status, so its next owner may do this again.
        """
        if (complete := self.known(lease).complete(round_)) is not None:
            return complete
        async with self._without_stragglers(lease, round_, "measured", reason, runs, at_fault=at_fault) as (_, skipped):
            return skipped

    async def measured(self, lease: Lease, round_: Round, *, reason: str | None = None) -> Round:
        """Evaluating -> completed: the round has what clients measured of its model on held-out data.

        The `reason` says why no client has measured it.
        """
        async with self._owned.begin(lease) as tx:
            training, round_ = await tx.trainings.get(round_.training_id), replace(round_, failure_reason=reason)
            ended = await self._transitions.close(tx, lease, round_, "measured", training)
        return self._transitions.ended(lease, ended)

    @asynccontextmanager
    async def _without_stragglers(
        self,
        lease: Lease,
        round_: Round,
        event: RoundEvent,
        reason: str,
        runs: Mapping[str, TaskRun],
        *,
        at_fault: bool = True,
        carry: bool = False,
    ) -> AsyncIterator[tuple[Transaction, Round]]:
        """The owner's transaction for `event`, with the round as it is without stragglers.

        Where there are many, others have committed most of them before. The round keeps its status until this one, so
        an owner that takes over in between goes on from there.
        """
        while True:
            async with self._owned.begin(lease) as tx:
                next_status(round_.status, event)  # an event that is not legal leaves everything as it was
                if (skipped := (known := self.known(lease)).complete(round_)) is None:
                    known.may_have_carried |= carry
                    skipped = await self._ending.skip_outstanding(
                        tx, round_, reason, runs, at_fault=at_fault, carry=carry
                    )
                if skipped is not None:
                    yield tx, skipped
                    return
