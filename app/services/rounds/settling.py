"""Write how participations and evaluations ended, several in one transaction, each of them once.

A transaction costs as much as an exchange of a small model. So the end of a participation waits a moment for others,
unless the round can go on once it is written. Until then, its agent keeps the result.

If the database refuses a value, the participations of that transaction are written one by one. The one that is refused
on its own is written as failed, with the reason.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from app.clock import Clock
from app.domain.events.rounds import ParticipationRerouted, end_of_part
from app.domain.rounds import Participation, Round
from app.domain.tasks import Observation
from app.metrics import Metrics
from app.services.rounds.batches import Batches
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.record import TrackRecord
from app.store.columns import refuses
from app.store.database import in_a_line
from app.store.leases import Lease
from app.store.transaction import Transaction
from tcsfeel.text import plain
from tcsfeel.wire.tasks import TaskKind


class Rerouted(NamedTuple):
    """A client that is asked directly, because its update did not come through its relay."""

    client_id: str
    relay: str
    reason: str


class _NotWhole(Exception):
    """One of the participations had ended before."""


Owner = tuple[Lease, int, TaskKind]
Settled = tuple[Round, Participation, Observation]
Progress = Callable[[Transaction, str], Awaitable[None]]
Freeze = Callable[[Transaction, Lease, Round], Awaitable[Round | None]]

SETTLED_TOGETHER = 32  # participations a transaction: some 5 ms on the event loop, all in all
PATIENCE_SECONDS = 0.2  # for which an end may wait for others, unless the round can go on with it


class Settling:
    """Settles participations in transactions of the owner of their training, who then knows them.

    `progress` is called in the same transaction with a training that has made progress, and `freeze` with a round whose
    last update or failure is stored, if its owner knows all others.
    """

    def __init__(
        self,
        *,
        owned: OwnedTransactions,
        progress: Progress,
        freeze: Freeze,
        clock: Clock,
        record: TrackRecord,
        metrics: Metrics,
    ) -> None:
        self._owned = owned
        self._progress = progress
        self._freeze = freeze
        self._clock = clock
        self._record = record
        self._metrics = metrics
        self._batches = Batches(self._settle, limit=SETTLED_TOGETHER, patience=self._patience)

    async def settle(self, lease: Lease, round_: Round, part: Participation, seen: Observation) -> bool:
        """Write how a participation ended. False if it had ended before or cannot be stored. Raises `Fenced`."""
        try:
            return await self._batches.put((lease, round_.number, part.kind), (round_, part.shown(), seen))
        except BaseException:  # nothing tells whether it was written
            self._owned.known(lease).doubt(round_.number)
            raise

    async def settle_together(
        self, lease: Lease, round_: Round, ended: Sequence[tuple[Participation, Observation]]
    ) -> bool:
        """Write how several clients' training ended, all of it in one transaction.

        Returns False, and writes nothing, if one of them had ended before or cannot be stored. Raises `Fenced`.
        """
        settled = [(round_, part.shown(), seen) for part, seen in ended]
        try:
            await self._settle_together((lease, round_.number, "fit"), settled, whole=True)
        except _NotWhole:
            return False
        except SQLAlchemyError as error:
            if refuses(error):
                return False
            self._owned.known(lease).doubt(round_.number)
            raise
        except BaseException:  # nothing tells whether it was written
            self._owned.known(lease).doubt(round_.number)
            raise
        return True

    async def reroute(self, lease: Lease, round_: Round, rerouted: Sequence[Rerouted]) -> None:
        """Write down which clients are asked directly instead of through their relay. Raises `Fenced`."""
        async with self._owned.begin(lease) as tx:
            for one in rerouted:
                await tx.events.append(
                    ParticipationRerouted(
                        training_id=round_.training_id,
                        round=round_.number,
                        client_id=one.client_id,
                        relay=one.relay,
                        reason=plain(one.reason),
                    )
                )

    async def hurry(self, lease: Lease, round_: Round, kind: TaskKind) -> None:
        """Write what waits. Returns when the tasks that wait for it have ended."""
        await self._batches.hurry((lease, round_.number, kind))

    def _patience(self, owned: Owner, settled: Sequence[Settled]) -> float:
        """Let ends wait for others, to be written together, as long as their round has to wait in any case."""
        lease, _, kind = owned
        enough = self._owned.known(lease).enough(settled[0][0], kind, (part for _, part, _ in settled))
        return 0.0 if enough else PATIENCE_SECONDS

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

    async def _settle_together(self, owned: Owner, settled: Sequence[Settled], *, whole: bool = False) -> list[bool]:
        """Write participations in one transaction. With `whole`, raises `_NotWhole` unless all of them are written."""
        lease, number, kind = owned
        known = self._owned.known(lease)
        sketches: dict[str, tuple[float, ...]] = {}
        async with self._owned.begin(lease) as tx:
            written = await tx.rounds.settle(lease.training_id, number, [part for _, part, _ in settled], kind)
            counted = [entry for entry in settled if written.get(entry[1].client_id) is entry[1]]
            if whole and len(counted) < len(settled):
                raise _NotWhole
            ended = {part.client_id: (part, seen) for _, part, seen in counted}
            if kind == "fit":
                sketches = await self._record.learn(tx, lease.training_id, ended)
            else:
                await self._record.evaluated(tx, ended)
            for round_, part, _ in counted:
                await tx.events.append(end_of_part(round_, part))
            if counted:
                await self._progress(tx, lease.training_id)
            frozen = None
            if counted and kind == "fit":
                complete = known.complete(settled[0][0], (part for _, part, _ in counted))
                frozen = None if complete is None else await self._freeze(tx, lease, complete)
        known.settled(number, (part for _, part, _ in counted))
        if frozen is not None:
            known.frozen = frozen
        if known.sketches is not None:
            known.sketches |= sketches
        for _, part, seen in counted:
            self._metrics.count_part(part.kind, part.status, seen.encoding, seen.coding)
        return [entry in counted for entry in settled]
