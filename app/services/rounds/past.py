"""Remember the ended rounds of trainings, so that a round does not read all rounds before it again.

What a round that has ended says of its clients does not change any more, whichever server drove it. So only the rounds
that ended since the last look are read.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.selections import PastSelection
from app.store.transaction import Transaction

REMEMBERED = 256  # trainings; the one that was asked for least recently is read again


@dataclass(frozen=True, slots=True)
class Past:
    """The rounds of a training up to a number, oldest first, and how many updates were received from each client."""

    up_to: int = 0
    rounds: tuple[PastSelection, ...] = ()
    received: Mapping[str, int] = field(default_factory=dict)


class PastRounds:
    """Reads the past of trainings, for those who select clients and measure fairness."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Past] = OrderedDict()

    async def before(self, tx: Transaction, training_id: str, number: int) -> Past:
        """Return the rounds of a training before a round. All of them have ended, because it drives one at a time.

        If it started from a version of another training, the rounds up to that version come first.
        """
        known = self._known.get(training_id, Past())
        if known.up_to != number - 1:
            known = await self._read(tx, training_id, number, Past() if known.up_to >= number else known)
        self._known[training_id] = known
        self._known.move_to_end(training_id)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return known

    async def _read(self, tx: Transaction, training_id: str, number: int, known: Past) -> Past:
        newer = []
        if not known.rounds:
            for ancestor, last in await tx.trainings.lineage(training_id):
                newer += await tx.histories.selections(ancestor, after=0, before=last + 1)
        newer += await tx.histories.selections(training_id, after=known.up_to, before=number)
        received = Counter(known.received)
        for round_ in newer:
            received.update(round_.received)
        return Past(number - 1, (*known.rounds, *newer), received)
