"""The round, step by step. Each step does its work and then moves the round on through the ledger.

Killed anywhere, the next owner calls `drive` with the round as it is stored, and the step of its status starts again:

    selecting     nothing was sent; the stored seed plans the same
    training      received updates are kept, handed-over tasks are polled, the rest are handed over
    aggregating   the same updates give the same bytes
    evaluating    the model is committed; received evaluations are kept, the others are polled or handed over again

`Fenced` from the ledger means that somebody else drives by now: it passes through, and nothing more is written.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from app.clock import Clock
from app.domain.carrying import BASE_GONE
from app.domain.errors import NotFound
from app.domain.rounds import (
    ENDED,
    OUTSTANDING,
    Participation,
    Round,
    evaluation_seconds,
    of_round,
    quorum_count,
    quorum_of,
    too_few_updates,
)
from app.domain.trainings import Training
from app.services.rounds.absences import Absences
from app.services.rounds.costs import Costs
from app.services.rounds.early_ends import EarlyEnds
from app.services.rounds.evaluating import Evaluating, summed_up
from app.services.rounds.files import RoundFiles
from app.services.rounds.gathering import gather
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.participants import Participants
from app.services.rounds.phases import Phases
from app.services.rounds.relaying import Relaying
from app.services.rounds.selecting import Selecting
from app.services.rounds.weighing import Weighing
from app.store.database import Database
from app.store.leases import Lease
from app.store.models import ModelVersion
from app.threads import in_thread
from app.traces import Traces
from tcsfeel.errors import UnusableRound

FEW_FIGURES = 500  # that clients report in a round: they are summed up on the event loop, in less than 1 ms


class RoundEngine:
    """Drives rounds for the owner of the lease."""

    def __init__(
        self,
        *,
        db: Database,
        clock: Clock,
        participants: Participants,
        relaying: Relaying,
        files: RoundFiles,
        ledger: RoundLedger,
        phases: Phases,
        selecting: Selecting,
        evaluating: Evaluating,
        early_ends: EarlyEnds,
        absences: Absences,
        costs: Costs,
        weighing: Weighing,
        traces: Traces,
    ) -> None:
        self._db = db
        self._clock = clock
        self._participants = participants
        self._relaying = relaying
        self._files = files
        self._ledger = ledger
        self._phases = phases
        self._selecting = selecting
        self._evaluating = evaluating
        self._early_ends = early_ends
        self._absences = absences
        self._costs = costs
        self._weighing = weighing
        self._traces = traces

    async def drive(self, lease: Lease, round_: Round) -> Round:
        """Take a round from wherever it stands to its end. Raises `Fenced`."""
        with self._traces.round(round_.training_id, round_.number) as trace:
            round_ = await self._drive(lease, round_)
            trace.note(status=round_.status, value=round_.goal_value)
            if round_.failure_reason is not None:
                trace.fail(round_.failure_reason)
        return round_

    async def _drive(self, lease: Lease, round_: Round) -> Round:
        steps = {
            "selecting": self._selecting.select,
            "training": self._train,
            "aggregating": self._aggregate,
            "evaluating": self._evaluating.evaluate,
        }
        self._ledger.known(lease).begin(round_.number)
        while round_.status not in ENDED:
            training = self._ledger.known(lease).training
            if training is None:
                async with self._db.read() as tx:
                    training = await tx.trainings.get(round_.training_id)
            training = replace(training, config=of_round(training.config, round_))
            with self._traces.step(round_.status):
                round_ = await steps[round_.status](lease, training, round_)
            await self._early_ends.call_off_ended(lease)
        self._costs.take(round_)
        self._participants.empty_spool(round_)
        return round_

    async def _train(self, lease: Lease, training: Training, round_: Round) -> Round:
        policy, known = training.config.round_policy, self._ledger.known(lease)
        resumed = {part.client_id for part in round_.participations if part.status == "training" and not known.fresh}
        known.fresh = False
        if any(part.status == "pending" for part in round_.participations):
            round_ = await self._ledger.handed_over(lease, round_)
        outstanding = [part for part in round_.participations if part.status in OUTSTANDING]
        reserve = evaluation_seconds(policy) if training.config.evaluation_clients else 0.0
        deadline = round_.deadline_at - reserve
        try:
            phase = await self._phases.begin(
                lease, training, round_, "fit", round_.base_model, tasks=len(outstanding), deadline=deadline
            )
        except UnusableRound as error:
            return await self._ledger.abandoned(lease, round_, str(error), at_fault=False, carry=False)
        clients = await self._phases.clients(lease, round_.selected_clients)
        own = [part for part in outstanding if part.begun_in is None]
        carried = [part for part in outstanding if part.begun_in is not None]
        phases = await self._phases.of_carried(training, phase, carried)
        fit, quorum = self._participants.fit, quorum_of(round_, policy)
        enough = await gather(
            [
                *self._relaying.jobs(lease, phase, own, clients, frozenset(resumed)),
                *(
                    fit(lease, phases[one.begun_in], one, clients.get(one.client_id), resumed=True)
                    if one.begun_in in phases
                    else self._participants.excuse(lease, round_, one, BASE_GONE)
                    for one in carried
                ),
            ],
            clock=self._clock,
            arrivals=[part.finished_at or 0.0 for part in round_.participations if part.status == "received"],
            goal=round_.goal or 1,
            quorum=quorum,
            deadline=phase.deadline,
            grace_seconds=policy.grace_seconds,
            early=quorum_count(len(round_.participations), policy),
            hurry=partial(self._ledger.settling.hurry, lease, round_, "fit"),
        )
        if not enough:
            async with self._db.read() as tx:
                ended = (await tx.rounds.get(round_.training_id, round_.number)).participations
            # An update may have been stored just now, of a job that had not come to its end.
            enough = sum(part.status == "received" for part in ended) >= quorum
        if not enough:
            outage = await self._absences.explain(ended, quorum)
            reason = too_few_updates(ended, quorum)
            round_ = await self._ledger.abandoned(lease, round_, reason, phase.runs, outage=outage)
        else:
            round_ = await self._ledger.frozen(lease, round_, phase.runs)
        done_with = {
            part.client_id
            for part in round_.participations
            if part.status != "carried" and (part.status != "received" or not enough)
        }
        self._participants.forget([client for client in clients.values() if client.id in done_with], round_, "fit")
        return round_

    async def _aggregate(self, lease: Lease, training: Training, round_: Round) -> Round:
        received = [part.client_id for part in round_.participations if part.status == "received"]
        outliers, lost = await in_thread("aggregation", self._files.looked_over, training.config, round_)
        if outliers:
            round_ = await self._ledger.rejected(lease, round_, outliers)
        left = sum(part.status == "received" for part in round_.participations)
        if left < (quorum := quorum_of(round_, training.config.round_policy)):
            rejected = ", ".join(part.client_id for part in round_.participations if part.status == "rejected")
            reason = f"{left} updates are left without those that were rejected ({rejected}), the quorum is {quorum}"
            round_ = await self._ledger.abandoned(lease, round_, reason)
        else:
            round_ = await self._combine(lease, training, round_, lost)
        self._participants.forget((await self._phases.clients(lease, received)).values(), round_, "fit")
        return round_

    async def _combine(self, lease: Lease, training: Training, round_: Round, lost: Sequence[Participation]) -> Round:
        """Make the new model of the received updates, or abandon the round that cannot have one.

        `lost` are the participations whose updates the spool lacks.
        """
        spool = self._files.spool(round_)
        base, since = await self._base(lease, round_)
        try:
            if lost:
                round_ = await self._recover(lease, training, round_, lost)
            round_ = await self._weighing.weigh(lease, training, round_)
            stored, state = await in_thread("aggregation", self._files.aggregate, training.config, round_, base, spool)
        except UnusableRound as error:
            return await self._ledger.abandoned(lease, round_, str(error))
        except NotFound as error:
            return await self._ledger.abandoned(lease, round_, f"an update is missing from the spool: {error}")
        if not training.config.evaluation_clients:
            round_ = await summed_up(round_, training.config)
            return await self._ledger.committed(lease, round_, stored, state, since=since, ends=True)
        round_ = await self._ledger.committed(lease, round_, stored, state, since=since)
        await in_thread("files", self._files.recycle_spool, round_.training_id, round_.number)  # none needs the updates
        return round_

    async def _base(self, lease: Lease, round_: Round) -> tuple[ModelVersion, float]:
        """Return the version that the round began with, and the database's time from before now."""
        known = self._ledger.known(lease)
        since, known.since = known.since, None  # another try gets a newer time
        if since is not None and known.version is not None and known.version.sha256 == round_.base_model:
            return known.version, since
        async with self._db.read() as tx:
            return await tx.models.find(round_.training_id, round_.base_model or ""), await tx.now()

    async def _recover(self, lease: Lease, training: Training, round_: Round, lost: Sequence[Participation]) -> Round:
        """Ask agents again for updates that the spool lacks: it may be another machine's, or have been emptied."""
        now = self._clock.now()
        deadline = max(round_.deadline_at, now + evaluation_seconds(training.config.round_policy))
        phase = await self._phases.begin(
            lease, training, round_, "fit", round_.base_model, tasks=len(lost), deadline=deadline
        )
        phases = await self._phases.of_carried(training, phase, [part for part in lost if part.begun_in is not None])
        async with self._db.glance() as tx:
            clients = {client.id: client for client in await tx.clients.some(round_.selected_clients)}
        recover, phases[None] = self._relaying.recover, phase
        await gather(
            [
                recover(phases[part.begun_in], part, clients[part.client_id], clients)
                for part in lost
                if part.client_id in clients and part.begun_in in phases
            ],
            clock=self._clock,
            goal=len(lost),
            quorum=len(lost),
            deadline=deadline,
            grace_seconds=0.0,
        )
        return await self._ledger.charged(lease, round_, phase.runs)
