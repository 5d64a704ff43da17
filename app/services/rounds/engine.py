"""The round, step by step. Each step does its work and then moves the round on through the ledger.

Killed anywhere, the next owner calls `drive` with the round as it is stored, and the step of its status starts again:

    selecting     nothing was sent; the stored seed plans the same
    training      received updates are kept, handed-over tasks are polled, the rest are handed over
    aggregating   the same updates give the same bytes
    evaluating    the model is committed; received evaluations are kept, the others are polled or handed over again

`Fenced` from the ledger means that somebody else drives by now: it passes through, and nothing more is written.
"""

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from app.clock import Clock
from app.domain.clients import Client
from app.domain.errors import NotFound
from app.domain.evaluations import not_measured
from app.domain.measurements import measured
from app.domain.retries import RetryBudget
from app.domain.rounds import (
    ENDED,
    OUTSTANDING,
    Round,
    evaluation_seconds,
    of_round,
    quorum_count,
    too_few_updates,
)
from app.domain.trainings import Training
from app.services.rounds.absences import Absences
from app.services.rounds.costs import Costs
from app.services.rounds.files import RoundFiles
from app.services.rounds.gathering import gather
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.optimiser_states import with_control
from app.services.rounds.participants import Participants
from app.services.rounds.phase import Phase
from app.services.rounds.planning import Planner
from app.services.rounds.selecting import Selecting
from app.services.rounds.weighing import Weighing
from app.services.tasks.assignments import ToSend
from app.store.database import Database
from app.store.leases import Lease
from app.store.models import ModelVersion
from app.threads import in_thread
from tcsfeel.errors import UnusableRound
from tcsfeel.wire.sizes import EVALUATION, fit_size
from tcsfeel.wire.tasks import TaskKind


class RoundEngine:
    """Drives rounds for the owner of the lease."""

    def __init__(
        self,
        *,
        db: Database,
        clock: Clock,
        planner: Planner,
        participants: Participants,
        files: RoundFiles,
        ledger: RoundLedger,
        selecting: Selecting,
        absences: Absences,
        costs: Costs,
        weighing: Weighing,
    ) -> None:
        self._db = db
        self._clock = clock
        self._planner = planner
        self._participants = participants
        self._files = files
        self._ledger = ledger
        self._selecting = selecting
        self._absences = absences
        self._costs = costs
        self._weighing = weighing

    async def drive(self, lease: Lease, round_: Round) -> Round:
        """Take a round from wherever it stands to its end. Raises `Fenced`."""
        steps = {
            "selecting": self._selecting.select,
            "training": self._train,
            "aggregating": self._aggregate,
            "evaluating": self._evaluate,
        }
        self._ledger.known(lease).begin(round_.number)
        while round_.status not in ENDED:
            training = self._ledger.known(lease).training
            if training is None:
                async with self._db.read() as tx:
                    training = await tx.trainings.get(round_.training_id)
            training = replace(training, config=of_round(training.config, round_))
            round_ = await steps[round_.status](lease, training, round_)
        self._costs.take(round_)
        await in_thread("files", self._files.empty_spool, round_.training_id, round_.number)
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
            phase = await self._phase(
                lease, training, round_, "fit", round_.base_model, tasks=len(outstanding), deadline=deadline
            )
        except UnusableRound as error:
            return await self._ledger.abandoned(lease, round_, str(error), at_fault=False)
        clients = await self._clients(lease, round_.selected_clients)
        fit = self._participants.fit
        enough = await gather(
            [
                fit(lease, phase, part, clients.get(part.client_id), resumed=part.client_id in resumed)
                for part in outstanding
            ],
            clock=self._clock,
            arrivals=[part.finished_at or 0.0 for part in round_.participations if part.status == "received"],
            goal=round_.goal or 1,
            quorum=quorum_count(len(round_.participations), policy),
            deadline=phase.deadline,
            grace_seconds=policy.grace_seconds,
            hurry=partial(self._ledger.settling.hurry, lease, round_, "fit"),
        )
        if not enough:
            async with self._db.read() as tx:
                ended = (await tx.rounds.get(round_.training_id, round_.number)).participations
            quorum = quorum_count(len(ended), policy)
            outage = await self._absences.explain(ended, quorum)
            reason = too_few_updates(ended, quorum)
            round_ = await self._ledger.abandoned(lease, round_, reason, phase.runs, outage=outage)
        else:
            round_ = await self._ledger.frozen(lease, round_, phase.runs)
        done_with = {part.client_id for part in round_.participations if part.status != "received" or not enough}
        self._participants.forget([client for client in clients.values() if client.id in done_with], round_, "fit")
        return round_

    async def _aggregate(self, lease: Lease, training: Training, round_: Round) -> Round:
        received = [part.client_id for part in round_.participations if part.status == "received"]
        if outliers := await in_thread("aggregation", self._files.outliers, training.config, round_):
            round_ = await self._ledger.rejected(lease, round_, outliers)
        left = sum(part.status == "received" for part in round_.participations)
        if left < (quorum := quorum_count(len(round_.participations), training.config.round_policy)):
            rejected = ", ".join(part.client_id for part in round_.participations if part.status == "rejected")
            reason = f"{left} updates are left without those that were rejected ({rejected}), the quorum is {quorum}"
            round_ = await self._ledger.abandoned(lease, round_, reason)
        else:
            round_ = await self._combine(lease, training, round_)
        self._participants.forget((await self._clients(lease, received)).values(), round_, "fit")
        return round_

    async def _combine(self, lease: Lease, training: Training, round_: Round) -> Round:
        """Make the new model of the received updates, or abandon the round that cannot have one."""
        spool = self._files.spool(round_)
        base, since = await self._base(lease, round_)
        try:
            round_ = await self._weighing.weigh(lease, training, await self._recover(lease, training, round_))
            stored, state = await in_thread("aggregation", self._files.aggregate, training.config, round_, base, spool)
        except UnusableRound as error:
            return await self._ledger.abandoned(lease, round_, str(error))
        except NotFound as error:
            return await self._ledger.abandoned(lease, round_, f"an update is missing from the spool: {error}")
        round_ = await self._ledger.committed(lease, round_, stored, state, since=since)
        await in_thread("files", spool.clear)  # no step that is left needs the updates
        return round_

    async def _base(self, lease: Lease, round_: Round) -> tuple[ModelVersion, float]:
        """Return the version that the round began with, and the database's time from before now."""
        known = self._ledger.known(lease)
        since, known.since = known.since, None  # another try gets a newer time
        if since is not None and known.version is not None and known.version.sha256 == round_.base_model:
            return known.version, since
        async with self._db.read() as tx:
            return await tx.models.find(round_.training_id, round_.base_model or ""), await tx.now()

    async def _evaluate(self, lease: Lease, training: Training, round_: Round) -> Round:
        out: list[tuple[str, str]] = []
        if training.config.evaluation_clients or round_.evaluations:
            round_, out = await self._evaluated(lease, training, round_)
        round_ = await in_thread("aggregation", measured, round_, training.config)
        reason = not_measured(round_.evaluations, out) if training.config.evaluation_clients else None
        asked = [one.client_id for one in round_.evaluations]
        round_ = await self._ledger.measured(lease, round_, reason=reason)
        self._participants.forget((await self._clients(lease, asked)).values(), round_, "evaluate")
        return round_

    async def _evaluated(self, lease: Lease, training: Training, round_: Round) -> tuple[Round, list[tuple[str, str]]]:
        """Have the new model evaluated. Returns the round, and which clients could not be asked, with the reasons."""
        policy, now = training.config.round_policy, self._clock.now()
        known = {one.client_id for one in round_.evaluations}
        out: list[tuple[str, str]] = []
        if not known and training.config.evaluation_clients:
            async with self._db.read() as tx:
                evaluators, out = await self._planner.evaluators(tx, training, round_.seed)
            round_ = await self._ledger.asked(lease, round_, [client.id for client in evaluators])
            self._ledger.known(lease).keep(evaluators)
        outstanding = [one for one in round_.evaluations if one.status in OUTSTANDING]
        deadline = round_.deadline_at if now < round_.deadline_at else now + evaluation_seconds(policy)
        phase = await self._phase(
            lease, training, round_, "evaluate", round_.model, tasks=len(outstanding), deadline=deadline
        )
        clients = await self._clients(lease, [one.client_id for one in round_.evaluations])
        evaluate = self._participants.evaluate
        if outstanding:
            await gather(
                [
                    evaluate(lease, phase, one, clients.get(one.client_id), resumed=one.client_id in known)
                    for one in outstanding
                ],
                clock=self._clock,
                arrivals=[one.finished_at or 0.0 for one in round_.evaluations if one.status == "received"],
                goal=len(round_.evaluations),
                quorum=quorum_count(len(round_.evaluations), policy),
                deadline=phase.deadline,
                grace_seconds=policy.grace_seconds,
                hurry=partial(self._ledger.settling.hurry, lease, round_, "evaluate"),
            )
        return await self._ledger.evaluated(lease, round_, phase.runs), out

    async def _recover(self, lease: Lease, training: Training, round_: Round) -> Round:
        """Ask agents again for updates that the spool lacks: it may be another machine's, or have been emptied."""
        lost = await in_thread("files", self._files.lost, round_)
        if not lost:
            return round_
        now = self._clock.now()
        deadline = max(round_.deadline_at, now + evaluation_seconds(training.config.round_policy))
        phase = await self._phase(lease, training, round_, "fit", round_.base_model, tasks=len(lost), deadline=deadline)
        async with self._db.glance() as tx:
            clients = {client.id: client for client in await tx.clients.some([part.client_id for part in lost])}
        recover = self._participants.recover
        await gather(
            [recover(phase, part, clients[part.client_id]) for part in lost if part.client_id in clients],
            clock=self._clock,
            goal=len(lost),
            quorum=len(lost),
            deadline=deadline,
            grace_seconds=0.0,
        )
        return await self._ledger.charged(lease, round_, phase.runs)

    async def _phase(
        self,
        lease: Lease,
        training: Training,
        round_: Round,
        kind: TaskKind,
        model: str | None,
        *,
        tasks: int,
        deadline: float,
    ) -> Phase:
        first = ""
        if training.config.parameters.frozen:
            async with self._db.read() as tx:
                first = (await tx.models.first(training.id)).sha256
        sent = await in_thread("files", self._files.to_send, round_, training.config, model or "", first)
        phase = Phase(
            lease=lease,
            round_=round_,
            kind=kind,
            config=training.config,
            model=sent.model,
            frozen=sent.frozen,
            size=await in_thread("files", fit_size, sent.model) if kind == "fit" else EVALUATION,
            spool=self._files.spool(round_),
            budget=RetryBudget.of(tasks),
            deadline=deadline,
        )
        if kind == "fit" and training.config.aggregation == "scaffold":
            phase = await self._controlled(phase)
        self._costs.begin(phase)
        return phase

    async def _controlled(self, phase: Phase) -> Phase:
        """Give the phase with the control variates of SCAFFOLD. Raises `UnusableRound`."""
        round_ = phase.round_
        async with self._db.read() as tx:
            base = await tx.models.find(round_.training_id, round_.base_model or "")
        plain = ToSend(phase.model, phase.frozen)
        sent, since = await in_thread("files", with_control, self._files.models, phase.config, base, plain, phase.spool)
        async with self._db.read() as tx:
            counted = await tx.control_rounds.counted(
                round_.training_id, round_.selected_clients, after=since, before=round_.number
            )
        return replace(phase, controlled=sent.model, frozen=sent.frozen, counted=counted)

    async def _clients(self, lease: Lease, client_ids: Collection[str]) -> dict[str, Client]:
        """Return clients of the round. Only those are read that its owner does not know."""
        known = self._ledger.known(lease)
        if unknown := [client_id for client_id in client_ids if client_id not in known.clients]:
            async with self._db.read() as tx:
                known.keep(await tx.clients.some(unknown))
        return {client_id: known.clients[client_id] for client_id in client_ids if client_id in known.clients}
