"""Take carried tasks into rounds, and end those that no round takes in, in the transactions of others.

The caller's transaction holds the training's row, as it does for `RoundEnding`.
"""

from collections.abc import Sequence
from dataclasses import replace

from app.domain.carrying import Carried, Leaving, taken_in, task_of
from app.domain.events.rounds import ParticipationSkipped
from app.domain.rounds import Participation, Round
from app.metrics import Metrics
from app.services.rounds.record import TrackRecord
from app.store.transaction import Transaction

ENDED_TOGETHER = 200  # tasks a transaction: some 50 ms


class Carrying:
    """Moves tasks from one round into the next."""

    def __init__(self, record: TrackRecord, metrics: Metrics) -> None:
        self._record = record
        self._metrics = metrics

    async def take_in(
        self, tx: Transaction, round_: Round, carried: Sequence[Carried]
    ) -> tuple[Participation, ...] | None:
        """Take the open carried tasks of a training into a round that is being planned.

        Returns their participations in it. None if the training has other open tasks than these: plan again.
        """
        found = []
        made: dict[int | None, int] = {}
        for one in carried:
            if (begun := one.part.begun_in) not in made:
                made[begun] = await tx.models.made_since(round_.training_id, begun or one.round)
            found.append(taken_in(one, made[begun]))
        if carried and await tx.carried.take_in(round_.training_id, round_.number) != len(carried):
            return None
        return tuple(found)

    async def end_all(self, tx: Transaction, training_id: str, reason: str) -> dict[str, str]:
        """End the open carried tasks of a training that goes on no more. Returns their ids by client.

        It ends `ENDED_TOGETHER` at most, so that the training's row is not held for long. Housekeeping ends the rest.
        """
        open_ones = (await tx.carried.open(training_id))[:ENDED_TOGETHER]
        return await self.end(tx, training_id, [Leaving(one, reason) for one in open_ones])

    async def end(self, tx: Transaction, training_id: str, leaving: Sequence[Leaving]) -> dict[str, str]:
        """End open carried tasks, each for its reason. Returns their ids by client."""
        if not leaving:
            return {}
        ended = [
            replace(left.one, part=replace(left.one.part, status="skipped", reason=left.reason)) for left in leaving
        ]
        await tx.carried.end(training_id, ended)
        await self._record.miss(tx, {left.one.part.client_id: left.late for left in leaving})
        for one in ended:
            await tx.events.append(
                ParticipationSkipped(
                    training_id=training_id, round=one.round, client_id=one.part.client_id, reason=one.part.reason
                )
            )
            self._metrics.count_part("fit", "skipped")
        return {one.part.client_id: task_of(one.part, training_id, one.round) for one in ended}
