"""Take carried tasks into rounds, and end those that no round takes in, in the transactions of others.

The caller's transaction holds the training's row, as it does for `RoundEnding`.
"""

from collections.abc import Sequence
from dataclasses import replace

from app.domain.carrying import TOO_OLD, Carried, divided, taken_in, task_of
from app.domain.events.rounds import ParticipationSkipped
from app.domain.rounds import Participation, Round
from app.domain.trainings import RoundPolicy
from app.metrics import Metrics
from app.services.rounds.record import TrackRecord
from app.store.transaction import Transaction


class Carrying:
    """Moves tasks from one round into the next."""

    def __init__(self, record: TrackRecord, metrics: Metrics) -> None:
        self._record = record
        self._metrics = metrics

    async def take_in(
        self, tx: Transaction, round_: Round, policy: RoundPolicy, carried: Sequence[Carried]
    ) -> tuple[tuple[Participation, ...], dict[str, str]]:
        """Take open carried tasks into a round that is being planned.

        Returns their participations in it, and the tasks that are too old, by client, which have ended.
        """
        young, old = divided(policy, carried, round_.number)
        found = []
        made: dict[int | None, int] = {}
        for one in young:
            if (begun := one.part.begun_in) not in made:
                made[begun] = await tx.models.made_since(round_.training_id, begun or one.round)
            found.append(taken_in(one, made[begun]))
        await tx.carried.take_in(round_.training_id, young, round_.number)
        return tuple(found), await self._end(tx, round_.training_id, old, TOO_OLD, late=True)

    async def end_all(self, tx: Transaction, training_id: str, reason: str) -> dict[str, str]:
        """End the open carried tasks of a training that goes on no more. Returns their ids by client."""
        return await self._end(tx, training_id, await tx.carried.open(training_id), reason, late=False)

    async def _end(
        self, tx: Transaction, training_id: str, carried: Sequence[Carried], reason: str, *, late: bool
    ) -> dict[str, str]:
        if not carried:
            return {}
        ended = [replace(one, part=replace(one.part, status="skipped", reason=reason)) for one in carried]
        await tx.carried.end(training_id, ended)
        await self._record.miss(tx, {one.part.client_id: late for one in ended})
        for one in ended:
            await tx.events.append(
                ParticipationSkipped(
                    training_id=training_id, round=one.round, client_id=one.part.client_id, reason=reason
                )
            )
            self._metrics.count_part("fit", "skipped")
        return {one.part.client_id: task_of(one.part, training_id, one.round) for one in ended}
