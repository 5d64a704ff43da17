"""Write how participations and evaluations ended, several in one transaction, each of them once.

If the database refuses a value, the participations of that transaction are written one by one. The one that is refused
on its own is written as failed, with the reason.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from sqlalchemy.exc import SQLAlchemyError

from app.clock import Clock
from app.domain.events.rounds import end_of_part
from app.domain.rounds import Participation, Round
from app.domain.tasks import Observation
from app.metrics import Metrics
from app.services.rounds.batches import Batches
from app.services.rounds.record import TrackRecord
from app.store.columns import refuses
from app.store.database import in_a_line
from app.store.leases import Lease
from app.store.transaction import Transaction
from tcsfeel.wire.tasks import TaskKind

Owner = tuple[Lease, int, TaskKind]
Settled = tuple[Round, Participation, Observation]
Owned = Callable[[Lease], AbstractAsyncContextManager[Transaction]]
Progress = Callable[[Transaction, str], Awaitable[None]]

SETTLED_TOGETHER = 16  # participations a transaction: some 5 ms on the event loop, all in all


class Settling:
    """Settles participations in transactions that `owned` opens for the owner of their training.

    `progress` is called in the same transaction with a training that has made progress.
    """

    def __init__(
        self,
        *,
        owned: Owned,
        progress: Progress,
        clock: Clock,
        record: TrackRecord,
        metrics: Metrics,
    ) -> None:
        self._owned = owned
        self._progress = progress
        self._clock = clock
        self._record = record
        self._metrics = metrics
        self._batches = Batches(self._settle, limit=SETTLED_TOGETHER)

    async def settle(self, lease: Lease, round_: Round, part: Participation, seen: Observation) -> bool:
        """Write how a participation ended. False if it had ended before or cannot be stored. Raises `Fenced`."""
        return await self._batches.put((lease, round_.number, part.kind), (round_, part, seen))

    async def _settle(self, owned: Owner, settled: Sequence[Settled]) -> list[bool]:
        """Write participations together, or one by one if the database refuses one of them."""
        try:
            return await self._settle_together(owned, settled)
        except SQLAlchemyError as error:
            if not refuses(error):
                raise
            if len(settled) == 1:
                await self._settle_together(owned, [self._unstorable(settled[0], in_a_line(error))])
                return [False]
        return [written for one in settled for written in await self._settle(owned, [one])]

    def _unstorable(self, settled: Settled, problem: str) -> Settled:
        """Replace a participation that the database cannot hold with a failed one."""
        round_, part, _ = settled
        kept = Participation(
            client_id=part.client_id,
            kind=part.kind,
            status="failed",
            reason=f"its result cannot be stored: {problem}",
            attempts=part.attempts,
            score=part.score,
            components=part.components,
            finished_at=self._clock.now(),
        )
        return round_, kept, Observation()

    async def _settle_together(self, owned: Owner, settled: Sequence[Settled]) -> list[bool]:
        lease, number, kind = owned
        async with self._owned(lease) as tx:
            written = await tx.rounds.settle(lease.training_id, number, [part for _, part, _ in settled], kind)
            counted = [entry for entry in settled if written.get(entry[1].client_id) is entry[1]]
            ended = {part.client_id: (part, seen) for _, part, seen in counted}
            if kind == "fit":
                await self._record.learn(tx, lease.training_id, ended)
            else:
                await self._record.evaluated(tx, ended)
            for round_, part, _ in counted:
                await tx.events.append(end_of_part(round_, part))
            if counted:
                await self._progress(tx, lease.training_id)
        for _, part, seen in counted:
            self._metrics.count_part(part.kind, part.status, seen.encoding, seen.coding)
        return [entry in counted for entry in settled]
