"""Divide places and amounts fairly between several parties that use them at the same time.

A *party* of `Places` is a training, or the API. The context of a task says for which party it works: `party` sets it
once, and every task that is started inside counts for the same party. The user of `Portions` decides what its parties
are.

A place cannot be taken away from its holder, and some hold theirs for long. So the rule looks ahead: a party may take a
further place while it holds fewer than `SHARE` times the places that are free (Choudhury, Hahne, "Dynamic queue length
thresholds in a shared-memory packet switch", 1998). A party that is alone gets 8 of 9 places, n greedy parties get
equal shares, and a few places stay free, so that a newcomer gets some at once. When a place becomes free, it goes to
the party that holds the fewest, among those that may take one.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

SHARE = 8
NOBODY = ""  # the party of work that belongs to no training: the API, and the loops of the process

_party: ContextVar[str] = ContextVar("party", default=NOBODY)


@contextmanager
def party(name: str) -> Iterator[None]:
    """Let the block, and the tasks that it starts, count for one party."""
    before = _party.set(name)
    try:
        yield
    finally:
        _party.reset(before)


def current_party() -> str:
    """Return the party that the caller works for."""
    return _party.get()


class Places:
    """`limit` places."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # the party that was served last comes last

    @property
    def crowded(self) -> bool:
        """Whether a task waits, or the caller's party could not take another place now."""
        return bool(self._waiting) or not self._may_take(current_party())

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold one place while the block runs."""
        holder = await self.take()
        try:
            yield
        finally:
            self.give_back(holder)

    async def take(self) -> str:
        """Wait for a place. Returns the party, which has to be passed to `give_back`."""
        holder = current_party()
        if holder not in self._waiting and self._may_take(holder):
            self._grant(holder)
            return holder
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(holder, deque())
        queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.give_back(holder)
            else:
                self._leave(holder, place)
            raise
        return holder

    def give_back(self, holder: str) -> None:
        """Free a place that `take` returned, and give it to a task that waits."""
        self._free += 1
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]
        while able := [waiting for waiting in self._waiting if self._may_take(waiting)]:
            chosen = min(able, key=lambda waiting: self._held[waiting])
            queue = self._waiting.pop(chosen)
            place = queue.popleft()
            if queue:
                self._waiting[chosen] = queue
            if not place.done():  # otherwise the task that waited was cancelled in this pass of the loop
                self._grant(chosen)
                place.set_result(None)

    def _may_take(self, holder: str) -> bool:
        return self._held[holder] < SHARE * self._free

    def _grant(self, holder: str) -> None:
        self._free -= 1
        self._held[holder] += 1

    def _leave(self, holder: str, place: asyncio.Future[None]) -> None:
        queue = self._waiting.get(holder, deque())
        if place in queue:
            queue.remove(place)
        if not queue:
            self._waiting.pop(holder, None)


class Portions:
    """An amount, such as memory, of which parties take portions by the same rule. A request for too much is refused.

    Every portion leaves something free, so a party that asks for little gets it, however much the others hold.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._held: Counter[Hashable] = Counter()

    @classmethod
    def of_alone(cls, size: int) -> "Portions":
        """Make an amount that is large enough for a single party to get `size`."""
        return cls(size + -(-size // SHARE))

    def held(self, holder: Hashable) -> int:
        """Return how much a party holds."""
        return self._held[holder]

    def may_take(self, holder: Hashable, amount: int) -> bool:
        """Tell whether a party would hold at most `SHARE` times the free amount, after it has taken this amount."""
        return self._held[holder] + amount <= SHARE * (self._free - amount)

    def take(self, holder: Hashable, amount: int) -> None:
        """Take the amount, even if the party may not."""
        self._free -= amount
        self._held[holder] += amount

    def give_back(self, holder: Hashable, amount: int) -> None:
        """Free an amount that a party took."""
        self.take(holder, -amount)
        if not self._held[holder]:
            del self._held[holder]
