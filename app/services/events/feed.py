"""Follow the log of events, on behalf of many readers.

One loop of each process asks the database for new events, four times a second as long as somebody reads, and keeps the
newest ones in memory. Readers who are up to date get their events from there. A reader who is behind reads the database
until it has caught up: readers who want the same share one read, and few reads are made at once, so that they leave
connections to everybody else. Ids of events become visible in their order (`app.store.events`), so no reader misses an
event or gets one twice, whichever server it asks.

Readers are woken a few at a time: all of them in one pass of the event loop would hold rounds, which write most events
just when they have the most to do.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile

from app.services.events.log import EventLog
from app.sharing import Portions
from app.store.availability import NoFreeConnection
from app.store.database import Database
from app.store.events import EventPage, RecordedEvent
from app.store.outages import Outage
from app.store.reading import LISTED
from tcsfeel.errors import Picklable

LOOK_SECONDS = 0.25
REMEMBERED = 2000  # events
BATCH = 500  # events that are read at once
WOKEN = 20  # readers that go on in one pass of the event loop
PAST_READS = 2  # of readers who are behind, that are made at once
PAST_SECONDS = 10.0  # that a reader who is behind waits for its turn


class TooManyReaders(Picklable):
    """A party has its share of the places for readers that wait for events."""

    def __init__(self, places: int) -> None:
        super().__init__(
            f"too many calls of this caller are waiting for events at this server: at most {places} can, and fewer "
            "while other callers wait too. Close a stream, or try again in a moment; the limit is set by "
            "TCSFEEL_LIMITS__STREAMS"
        )


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a reader wants: those of a training, of a client, of some types, or all of them."""

    training_id: str | None = None
    client_id: str | None = None
    types: frozenset[str] = frozenset()

    def matches(self, event: RecordedEvent) -> bool:
        return (
            (self.training_id is None or event.training_id == self.training_id)
            and (self.client_id is None or event.client_id == self.client_id)
            and (not self.types or event.type in self.types)
        )


ALL = EventFilter()


class EventFeed:
    """Gives events to readers as they are written.

    At most `places` readers of a party that is alone may wait. `note` is told how many readers there are.
    """

    def __init__(self, db: Database, *, places: int, note: Callable[[int], None] = lambda _count: None) -> None:
        self._db = db
        self._log = EventLog(db)
        self._places = places
        self._portions = Portions.of_alone(places)
        self._note = note
        self._readers = 0
        self._wanted = asyncio.Event()
        self._recent: deque[RecordedEvent] = deque(maxlen=REMEMBERED)
        self._newest: int | None = None  # id of the newest event that the loop has seen
        self._told: int | None = None  # the newest event that readers were woken for
        self._waiting: set[asyncio.Future[None]] = set()
        self._past: dict[tuple[int, int, EventFilter], asyncio.Task[EventPage]] = {}
        self._past_turns = asyncio.Semaphore(PAST_READS)
        self._outage = Outage()
        self.stopping = False

    @contextmanager
    def place(self, party: str) -> Iterator[None]:
        """Take a place for one reader of a party, until the block ends. Raises `TooManyReaders`."""
        if not self._portions.may_take(party, 1):
            raise TooManyReaders(self._places)
        self._portions.take(party, 1)
        self._count(1)
        self._wanted.set()
        try:
            yield
        finally:
            self._count(-1)
            self._portions.give_back(party, 1)

    def _count(self, change: int) -> None:
        self._readers += change
        self._note(self._readers)

    async def newest(self) -> int:
        """Return the id of the newest event of all; 0 if there is none."""
        async with self._db.glance() as tx:
            return await tx.events.newest()

    async def page(self, *, after: int, limit: int, only: EventFilter = ALL, seconds: float = 0.0) -> EventPage:
        """Give events beyond the cursor `after`, oldest first. If there are none, wait `seconds` for some.

        The page is empty if none has come until then, or if this server stops. A reader that waits needs a place.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            found = await self._read(after, limit, only)
            if found.items or self.stopping:
                return found
            after = found.cursor
            if not await self._grown(after, deadline - loop.time()):
                return found

    async def run(self) -> None:
        """Look for new events until cancelled, as long as there are readers. A look that fails is made again."""
        while True:
            if not self._readers:
                self._forget()
                self._wanted.clear()
                await self._wanted.wait()
            await self._outage.outlast(self._look, "new events could not be read")
            await asyncio.sleep(LOOK_SECONDS)

    def _forget(self) -> None:
        """Empty the memory, since nobody keeps it up to date while there are no readers."""
        self._recent.clear()
        self._newest = self._told = None

    def stop(self) -> None:
        """End every wait, those to come included, because the server stops."""
        self.stopping = True
        self._wake(self._waiting)

    async def _read(self, after: int, limit: int, only: EventFilter) -> EventPage:
        """Read from memory if that has all events beyond the cursor, else from the database."""
        newest = self._newest
        if newest is None or after < (self._recent[0].id - 1 if self._recent else newest):
            return await self._read_past(after, limit, only)
        beyond = takewhile(lambda event: event.id > after, reversed(self._recent))
        items = [event for event in beyond if only.matches(event)][::-1]
        if len(items) > limit:
            return EventPage(items[:limit], more=True, cursor=items[limit - 1].id)
        return EventPage(items, more=False, cursor=max(after, newest))

    async def _read_past(self, after: int, limit: int, only: EventFilter) -> EventPage:
        """Read from the database, or wait for another reader's read of the same that has not begun yet."""
        wanted = (after, limit, only)
        task = self._past.get(wanted)
        if task is None:
            task = self._past[wanted] = asyncio.create_task(self._read_in_turn(after, limit, only))
            task.add_done_callback(_hear)
        return await asyncio.shield(task)

    async def _read_in_turn(self, after: int, limit: int, only: EventFilter) -> EventPage:
        """Read from the database. Raises `NoFreeConnection` if other readers take too long."""
        try:
            async with asyncio.timeout(PAST_SECONDS):
                await self._past_turns.acquire()
        except TimeoutError as error:
            raise NoFreeConnection(f"other readers of old events were busy for {PAST_SECONDS:g} s") from error
        finally:  # who comes from now on may have written what this read does not see
            self._past.pop((after, limit, only), None)
        try:
            return await self._log.page(
                after=after, limit=limit, training_id=only.training_id, client_id=only.client_id, types=only.types
            )
        finally:
            self._past_turns.release()

    async def _grown(self, after: int, seconds: float) -> bool:
        """Wait until there are events beyond a cursor. Returns False if there are none after `seconds`."""
        if self._newest is not None and self._newest > after:
            return True
        if seconds <= 0 or self.stopping:
            return False
        more: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(more)
        try:
            async with asyncio.timeout(seconds):
                await more
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(more)
        return True

    async def _look(self) -> None:
        newest = await self.newest()
        if self._newest is None or newest - self._newest > REMEMBERED:
            self._recent.clear()  # readers catch up from the database
            self._newest = newest
        while newest > self._newest:
            async with self._db.read() as tx:
                page = await tx.events.after(self._newest, limit=BATCH, most_bytes=LISTED)
            self._recent.extend(page.items)
            self._newest = page.cursor
        if self._newest != self._told:
            self._told = self._newest
            await self._tell()

    async def _tell(self) -> None:
        """Let all readers look again, some in each pass of the event loop."""
        waiting = list(self._waiting)
        for start in range(0, len(waiting), WOKEN):
            self._wake(waiting[start : start + WOKEN])
            await asyncio.sleep(0)

    def _wake(self, waiting: Iterable[asyncio.Future[None]]) -> None:
        """Let some readers look again."""
        for one in waiting:
            if not one.done():
                one.set_result(None)


def _hear(read: "asyncio.Task[EventPage]") -> None:
    """Take the error of a read whose readers may all have left, or it would be logged as one that nobody expects."""
    if not read.cancelled():
        read.exception()
