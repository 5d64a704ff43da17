"""Have the new model of a round evaluated on data that clients hold out, and end the round."""

from functools import partial

from app.clock import Clock
from app.domain.clients import Client
from app.domain.evaluations import not_measured
from app.domain.measurements import measured
from app.domain.rounds import OUTSTANDING, Round, evaluation_seconds, quorum_count
from app.domain.trainings import Training, TrainingConfig
from app.services.rounds.gathering import gather
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.participants import Participants
from app.services.rounds.phases import Phases
from app.services.rounds.planning import Planner
from app.store.database import Database
from app.store.leases import Lease
from app.threads import in_thread

FEW_FIGURES = 500  # that clients report in a round: they are summed up on the event loop, in less than 1 ms


class Evaluating:
    """Takes rounds from their new model to their end, for the owner of the lease."""

    def __init__(
        self,
        *,
        db: Database,
        clock: Clock,
        planner: Planner,
        participants: Participants,
        ledger: RoundLedger,
        phases: Phases,
    ) -> None:
        self._db = db
        self._clock = clock
        self._planner = planner
        self._participants = participants
        self._ledger = ledger
        self._phases = phases

    async def evaluate(self, lease: Lease, training: Training, round_: Round) -> Round:
        """Ask clients to measure the model, and return the round as it ended. Raises `Fenced`."""
        out: list[tuple[str, str]] = []
        if training.config.evaluation_clients or round_.evaluations:
            round_, out = await self._evaluated(lease, training, round_)
        round_ = await summed_up(round_, training.config)
        reason = not_measured(round_.evaluations, out) if training.config.evaluation_clients else None
        asked = [one.client_id for one in round_.evaluations]
        round_ = await self._ledger.measured(lease, round_, reason=reason)
        self._participants.forget((await self._phases.clients(lease, asked)).values(), round_, "evaluate")
        return round_

    async def _evaluated(self, lease: Lease, training: Training, round_: Round) -> tuple[Round, list[tuple[str, str]]]:
        """Have the new model evaluated. Returns the round, and which clients could not be asked, with the reasons."""
        policy, now = training.config.round_policy, self._clock.now()
        known = {one.client_id for one in round_.evaluations}
        out: list[tuple[str, str]] = []
        if not known and training.config.evaluation_clients:
            evaluators, out = await self._evaluators(training, round_)
            round_ = await self._ledger.asked(lease, round_, [client.id for client in evaluators])
            self._ledger.known(lease).keep(evaluators)
        outstanding = [one for one in round_.evaluations if one.status in OUTSTANDING]
        deadline = round_.deadline_at if now < round_.deadline_at else now + evaluation_seconds(policy)
        phase = await self._phases.begin(
            lease, training, round_, "evaluate", round_.model, tasks=len(outstanding), deadline=deadline
        )
        clients = await self._phases.clients(lease, [one.client_id for one in round_.evaluations])
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

    async def _evaluators(self, training: Training, round_: Round) -> tuple[list[Client], list[tuple[str, str]]]:
        async with self._db.read() as tx:
            return await self._planner.evaluators(tx, training, round_.seed)


async def summed_up(round_: Round, config: TrainingConfig) -> Round:
    """Return a round with the means of what its clients have reported."""
    if sum(1 + len(part.metrics) for part in round_.parts) <= FEW_FIGURES:
        return measured(round_, config)
    return await in_thread("aggregation", measured, round_, config)
