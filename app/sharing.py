"""Places, and amounts, that several parties use at the same time, divided fairly between them.

A *party* of `Places` is a training, or the API. The one that a task works for is in its context: `party` sets it once,
and every task that is started inside counts for the same one. A party of `Portions` is whatever their user says.

A place cannot be taken away from its holder, and some hold theirs for long. So the rule looks ahead: a party may
take a further place while it holds fewer than `SHARE` times the places that are free (Choudhury, Hahne, "Dynamic queue
length thresholds in a shared-memory packet switch", 1998). A party that is alone gets 8 of 9 places, n greedy parties
get equal shares, and a few places stay free, so that a newcomer gets some at once. Where a place comes free, the party
that holds the fewest of those that may take it gets it.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

SHARE = 8
NOBODY = ""  # the party of what belongs to no training: the API, and the loops of the process

_party: ContextVar[str] = ContextVar("party", default=NOBODY)


@contextmanager
def party(name: str) -> Iterator[None]:
    """Let everything inside, and the tasks that it starts, count for one party."""
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
        """Whether somebody waits, or the party of the caller could not take another place now."""
        return bool(self._waiting) or not self._may_take(current_party())

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold one place inside."""
        holder = await self.take()
        try:
            yield
        finally:
            self.give_back(holder)

    async def take(self) -> str:
        """Wait for a place, and return the party to `give_back` it for."""
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
        """Free a place that `take` gave, and give it to somebody who waits."""
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
            if not place.done():  # else the one who waited was called off in this pass of the loop
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
    """An amount, such as memory, of which parties take portions by the same rule; a party that may not is refused.

    Every portion leaves something free, so that a party that asks for little gets it, whatever the others hold.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._held: Counter[Hashable] = Counter()

    @classmethod
    def of_alone(cls, size: int) -> "Portions":
        """As much as lets a party that is alone have `size`."""
        return cls(size + -(-size // SHARE))

    def held(self, holder: Hashable) -> int:
        """What a party holds."""
        return self._held[holder]

    def may_take(self, holder: Hashable, amount: int) -> bool:
        """Whether a party holds at most `SHARE` times what is free, once it has taken the amount too."""
        return self._held[holder] + amount <= SHARE * (self._free - amount)

    def take(self, holder: Hashable, amount: int) -> None:
        """Take the amount, whether the party may or not."""
        self._free -= amount
        self._held[holder] += amount

    def give_back(self, holder: Hashable, amount: int) -> None:
        """Free what a party took."""
        self.take(holder, -amount)
        if not self._held[holder]:
            del self._held[holder]
