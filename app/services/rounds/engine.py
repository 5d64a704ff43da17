"""The round, step by step. Each step does its work and then moves the round on through the ledger.

Killed anywhere, the next owner calls `drive` with the round as it is stored, and the step of its status starts again:

    selecting     nothing was sent; the stored seed plans the same
    training      received updates are kept, handed-over tasks are polled, the rest are handed over
    aggregating   the same updates give the same bytes
    evaluating    the model is committed; evaluations are asked for again under the same task ids

`Fenced` from the ledger means that somebody else drives by now: it passes through, and nothing more is written.
"""

from collections.abc import Collection
from dataclasses import replace

from app.clock import Clock
from app.domain.clients import Client
from app.domain.errors import NotFound
from app.domain.evaluations import Evaluation
from app.domain.retries import RetryBudget
from app.domain.rounds import (
    ENDED,
    OUTSTANDING,
    Round,
    evaluation_seconds,
    quorum_count,
    too_few_updates,
)
from app.domain.trainings import Training
from app.services.rounds.absences import Absences
from app.services.rounds.costs import Costs
from app.services.rounds.files import RoundFiles, reported
from app.services.rounds.gathering import gather
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.participants import Participants
from app.services.rounds.phase import Phase
from app.services.rounds.planning import Planner
from app.services.rounds.selecting import Selecting
from app.store.database import Database
from app.store.leases import Lease
from app.threads import in_thread
from tcsfeel.aggregation import mean_by_examples, target_doubt
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

    async def drive(self, lease: Lease, value: Round) -> Round:
        """Take a round from wherever it stands to its end. Raises `Fenced`."""
        steps = {
            "selecting": self._selecting.select,
            "training": self._train,
            "aggregating": self._aggregate,
            "evaluating": self._evaluate,
        }
        while value.status not in ENDED:
            async with self._db.read() as tx:
                training = await tx.trainings.get(value.training_id)
            value = await steps[value.status](lease, training, value)
        self._costs.take(value)
        await in_thread("files", self._files.spool(value).clear)
        return value

    async def _train(self, lease: Lease, training: Training, value: Round) -> Round:
        policy = training.config.round_policy
        resumed = {part.client_id for part in value.participations if part.status == "training"}
        value = await self._ledger.handed_over(lease, value)
        outstanding = [part for part in value.participations if part.status in OUTSTANDING]
        reserve = evaluation_seconds(policy) if training.config.evaluation_clients else 0.0
        deadline = value.deadline_at - reserve
        phase = await self._phase(
            lease, training, value, "fit", value.base_model, tasks=len(outstanding), deadline=deadline
        )
        clients = await self._clients(value.selected_clients)
        fit = self._participants.fit
        enough = await gather(
            [
                fit(lease, phase, part, clients.get(part.client_id), resumed=part.client_id in resumed)
                for part in outstanding
            ],
            clock=self._clock,
            arrivals=[part.finished_at or 0.0 for part in value.participations if part.status == "received"],
            goal=value.goal or 1,
            quorum=quorum_count(len(value.participations), policy),
            deadline=phase.deadline,
            grace_seconds=policy.grace_seconds,
        )
        if not enough:
            async with self._db.read() as tx:
                ended = (await tx.rounds.get(value.training_id, value.number)).participations
            quorum = quorum_count(len(ended), policy)
            outage = await self._absences.explain(ended, quorum)
            reason = too_few_updates(ended, quorum)
            value = await self._ledger.abandoned(lease, value, reason, phase.runs, outage=outage)
        else:
            value = await self._ledger.frozen(lease, value, phase.runs)
        done_with = {part.client_id for part in value.participations if part.status != "received" or not enough}
        self._participants.forget([client for client in clients.values() if client.id in done_with], value, "fit")
        return value

    async def _aggregate(self, lease: Lease, training: Training, value: Round) -> Round:
        received = [part.client_id for part in value.participations if part.status == "received"]
        if outliers := await in_thread("aggregation", self._files.outliers, training.config, value):
            value = await self._ledger.rejected(lease, value, outliers)
        left = sum(part.status == "received" for part in value.participations)
        if left < (quorum := quorum_count(len(value.participations), training.config.round_policy)):
            rejected = ", ".join(part.client_id for part in value.participations if part.status == "rejected")
            reason = f"{left} updates are left without those that were rejected ({rejected}), the quorum is {quorum}"
            value = await self._ledger.abandoned(lease, value, reason)
        else:
            value = await self._combine(lease, training, value)
        self._participants.forget((await self._clients(received)).values(), value, "fit")
        return value

    async def _combine(self, lease: Lease, training: Training, value: Round) -> Round:
        """Make the new model of the received updates, or abandon the round that cannot have one."""
        spool = self._files.spool(value)
        async with self._db.read() as tx:
            base = await tx.models.find(value.training_id, value.base_model or "")
            since = await tx.now()
        value = await self._recover(lease, training, value)
        try:
            stored, state = await in_thread("aggregation", self._files.aggregate, training.config, value, base, spool)
        except UnusableRound as error:
            return await self._ledger.abandoned(lease, value, str(error))
        except NotFound as error:
            return await self._ledger.abandoned(lease, value, f"an update is missing from the spool: {error}")
        return await self._ledger.committed(lease, value, stored, state, since=since)

    async def _evaluate(self, lease: Lease, training: Training, value: Round) -> Round:
        policy, now = training.config.round_policy, self._clock.now()
        evaluators = await self._evaluators(training, value)
        deadline = value.deadline_at if now < value.deadline_at else now + evaluation_seconds(policy)
        phase = await self._phase(
            lease, training, value, "evaluate", value.model, tasks=len(evaluators), deadline=deadline
        )
        ended: dict[str, Evaluation] = {}
        if evaluators:
            await gather(
                [self._participants.evaluate(phase, client, ended) for client in evaluators],
                clock=self._clock,
                goal=len(evaluators),
                quorum=quorum_count(len(evaluators), policy),
                deadline=phase.deadline,
                grace_seconds=policy.grace_seconds,
            )
        now = self._clock.now()
        evaluations = [ended.get(client.id) or phase.late(client.id, now) for client in evaluators]
        received = {one.client_id: reported(one) for one in evaluations if one.status == "received"}
        average = mean_by_examples(received.values(), training.config)
        value = replace(value, target_doubt=target_doubt(received, training.config, training.config.target_accuracy))
        value = await self._ledger.measured(lease, value, average, evaluations)
        self._participants.forget(evaluators, value, "evaluate")
        return value

    async def _recover(self, lease: Lease, training: Training, value: Round) -> Round:
        """Ask agents again for updates that the spool lacks: it may be another machine's, or have been emptied."""
        lost = await in_thread("files", self._files.lost, value)
        if not lost:
            return value
        now = self._clock.now()
        deadline = max(value.deadline_at, now + evaluation_seconds(training.config.round_policy))
        phase = await self._phase(lease, training, value, "fit", value.base_model, tasks=len(lost), deadline=deadline)
        clients = await self._clients([part.client_id for part in lost])
        recover = self._participants.recover
        await gather(
            [recover(phase, part, clients[part.client_id]) for part in lost if part.client_id in clients],
            clock=self._clock,
            goal=len(lost),
            quorum=len(lost),
            deadline=deadline,
            grace_seconds=0.0,
        )
        return await self._ledger.charged(lease, value, phase.runs)

    async def _phase(
        self,
        lease: Lease,
        training: Training,
        value: Round,
        kind: TaskKind,
        model: str | None,
        *,
        tasks: int,
        deadline: float,
    ) -> Phase:
        loaded = await in_thread("files", self._files.load, model or "")
        phase = Phase(
            lease=lease,
            value=value,
            kind=kind,
            config=training.config,
            model=loaded,
            size=await in_thread("files", fit_size, loaded) if kind == "fit" else EVALUATION,
            spool=self._files.spool(value),
            budget=RetryBudget.of(tasks),
            deadline=deadline,
        )
        self._costs.begin(phase)
        return phase

    async def _clients(self, client_ids: Collection[str]) -> dict[str, Client]:
        async with self._db.read() as tx:
            return {client.id: client for client in await tx.clients.some(client_ids)}

    async def _evaluators(self, training: Training, value: Round) -> list[Client]:
        async with self._db.read() as tx:
            return await self._planner.evaluators(tx, training, value.seed)
