"""Steps from one status of a round to another that several transactions of its owner can take.

The last update of a round is stored, and its updates are fixed, in one transaction. So are the new model and the end of
a round that is not evaluated, and the begin of the round after it.
"""

from dataclasses import replace
from typing import NamedTuple

from app.clock import Clock
from app.domain.carrying import TRAINING_ENDED
from app.domain.outcomes import Outcome, after_round
from app.domain.rounds import Round, RoundEvent, next_status, of_round, quorum_of
from app.domain.trainings import STOPPED, Training
from app.services.rounds.ending import RoundEnding
from app.services.rounds.known import Completed
from app.services.rounds.opening import begin_round
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.progress import ProgressRecord
from app.store.leases import Lease
from app.store.transaction import Transaction
from tcsfeel.aggregation.goals import Goal


class Ended(NamedTuple):
    """A round that has ended.

    Attributes:
        goal: that of its training.
        completed: the completed rounds of the training up to it.
        opened: the round that was begun with its end.
    """

    round: Round
    goal: Goal
    completed: Completed
    opened: Round | None


class Transitions:
    """Takes steps in the transactions of a training's owner."""

    def __init__(
        self, *, owned: OwnedTransactions, ending: RoundEnding, progress: ProgressRecord, clock: Clock
    ) -> None:
        self._known = owned.known
        self._ending = ending
        self._progress = progress
        self._clock = clock

    async def freeze_if_enough(self, tx: Transaction, lease: Lease, round_: Round) -> Round | None:
        """Fix the updates of a round whose tasks have all ended. None if they are too few."""
        training = await tx.trainings.get(round_.training_id)
        quorum = quorum_of(round_, of_round(training.config, round_).round_policy)
        received = sum(part.status == "received" for part in round_.participations)
        return await self.freeze(tx, lease, round_) if received >= quorum else None

    async def freeze(self, tx: Transaction, lease: Lease, round_: Round) -> Round:
        """Fix the updates of a round without stragglers."""
        frozen = replace(round_, status=next_status(round_.status, "frozen"), step_failures=0, takeovers=0)
        await tx.rounds.put(frozen)
        await self._progress.moved(tx, frozen.training_id)
        self._known(lease).since = await tx.now()
        return frozen

    async def close(
        self,
        tx: Transaction,
        lease: Lease,
        round_: Round,
        event: RoundEvent,
        training: Training,
        *,
        outage: bool = False,
    ) -> Ended:
        """End the round, store its training as it is after it, and begin the next round if it is time for one."""
        known = self._known(lease).completed_before(round_.number)
        round_, completed = await self._ending.close(tx, round_, event, training.config.goal, known)
        outcome = Outcome(
            completed=completed.count,
            accuracy=round_.average_accuracy,
            goal_value=round_.goal_value,
            doubted=round_.target_doubt is not None,
            reason=round_.failure_reason if round_.status == "abandoned" else None,
            outage=outage,
        )
        now, opened = self._clock.now(), None
        after = after_round(training, outcome, now)
        await self._progress.report(tx, training, after)
        if after.status == "running" and now >= after.next_round_at:
            after, opened = await begin_round(tx, after, now)
        if after.status in STOPPED:
            self._known(lease).called_off |= await self._ending.carrying.end_all(tx, after.id, TRAINING_ENDED)
        await tx.trainings.put(after)
        return Ended(round_, training.config.goal, completed, opened)

    def ended(self, lease: Lease, ended: Ended) -> Round:
        """Remember and report a round whose end is stored."""
        self._known(lease).close(ended.round.number, ended.completed, ended.opened)
        self._ending.count(ended.round, ended.goal)
        return ended.round
