"""Remember the ended rounds of trainings, so that a round does not read all rounds before it again.

What a round that has ended says of its clients does not change any more, whichever server drove it. So only the rounds
that ended since the last look are read.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.rounds import Round
from app.domain.selections import PastSelection, past_selection
from app.store.transaction import Transaction

REMEMBERED = 50_000  # selected clients of past rounds, of some 300 bytes each; beyond that, trainings are read again


@dataclass(frozen=True, slots=True)
class Past:
    """The rounds of a training up to a number, oldest first, and how many updates were received from each client.

    `size` is how many clients its rounds selected, the same ones counted again in each round.
    """

    up_to: int = 0
    rounds: tuple[PastSelection, ...] = ()
    received: Mapping[str, int] = field(default_factory=dict)
    size: int = 0


class PastRounds:
    """Reads the past of trainings, for those who select clients and measure fairness.

    What was asked for least recently is forgotten first, so what a process remembers is bounded, unless a single
    training is larger.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, Past] = OrderedDict()
        self._size = 0

    async def before(self, tx: Transaction, training_id: str, number: int) -> Past:
        """Return the rounds of a training before a round. All of them have ended, because it drives one at a time.

        If it started from a version of another training, the rounds up to that version come first.
        """
        known = self._known.get(training_id, Past())
        if known.up_to != number - 1:
            known = await self._read(tx, training_id, number, Past() if known.up_to >= number else known)
        if known.rounds:
            self._keep(training_id, known)
        return known

    def ended(self, round_: Round) -> None:
        """Remember a round that has ended, if the rounds before it are known."""
        known = self._known.get(round_.training_id)
        if known is None or known.up_to != round_.number - 1:
            return
        newest = past_selection(round_)
        self._keep(
            round_.training_id, _after(known, round_.number, [newest] if newest.selected or newest.received else [])
        )

    def forget(self, training_id: str) -> None:
        """Forget a training that this process does not drive any more."""
        if (known := self._known.pop(training_id, None)) is not None:
            self._size -= known.size

    async def _read(self, tx: Transaction, training_id: str, number: int, known: Past) -> Past:
        newer = []
        if not known.rounds:
            for ancestor, last in await tx.trainings.lineage(training_id):
                newer += await tx.histories.selections(ancestor, after=0, before=last + 1)
        newer += await tx.histories.selections(training_id, after=known.up_to, before=number)
        return _after(known, number - 1, newer)

    def _keep(self, training_id: str, known: Past) -> None:
        self._size += known.size - self._known.get(training_id, Past()).size
        self._known[training_id] = known
        self._known.move_to_end(training_id)
        while self._size > REMEMBERED and len(self._known) > 1:
            _, forgotten = self._known.popitem(last=False)
            self._size -= forgotten.size


def _after(known: Past, up_to: int, newer: Sequence[PastSelection]) -> Past:
    """Add rounds to a past, which then goes up to a number."""
    received = Counter(known.received)
    for round_ in newer:
        received.update(round_.received)
    size = known.size + sum(1 + len(round_.selected) for round_ in newer)
    return Past(up_to, (*known.rounds, *newer), received, size)
