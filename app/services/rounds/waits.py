"""Waiting for a round's end on behalf of callers.

Rules:

- A process asks the database once for all callers that wait for the same round, and reads no more than what tells
  whether the wait is over: ever more rarely, and at once where this process has ended the round itself.
- A wait ends with its caller, so that one who has hung up costs nothing.
- Waits have places, which are divided fairly. A caller that finds none is told so before the round is ordered.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from app.clock import Clock
from app.domain.rounds import ENDED
from app.sharing import Portions
from app.store.database import Database
from tcsfeel.errors import Picklable

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0


class Stopping(Picklable):
    """This server stops, so that it waits for nothing any more."""

    def __init__(self) -> None:
        super().__init__("the round goes on: ask another server, or this one after its restart")


class TooManyWaits(Picklable):
    """A party has its share of the places for callers that wait for rounds."""

    def __init__(self, places: int) -> None:
        super().__init__(
            f"too many calls of this caller are waiting for rounds at this server: at most {places} can, and "
            "fewer while other callers wait too. "
            "Send the call without Prefer: wait, or try again in a moment; the limit is set by TCSFEEL_LIMITS__WAITS"
        )


class RoundWaits:
    """The waits of one process. `places` says how many a party may have that is alone; others find some left."""

    def __init__(self, db: Database, clock: Clock, *, places: int) -> None:
        self._db = db
        self._clock = clock
        self._places = places
        self._portions = Portions.of_alone(places)
        self._lookouts: dict[tuple[str, int], _Lookout] = {}
        self._stopping = False

    @contextmanager
    def place(self, party: str) -> Iterator[None]:
        """Take a place for one caller of a party, until the block ends. Raises `TooManyWaits`."""
        if not self._portions.may_take(party, 1):
            raise TooManyWaits(self._places)
        self._portions.take(party, 1)
        try:
            yield
        finally:
            self._portions.give_back(party, 1)

    async def wait(
        self, training_id: str, number: int, seconds: float, departure: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Return once the round has ended and its training has moved on, the training stops, or `seconds` are over.

        `departure` raises when the caller has hung up, and so does this then.

        Raises:
            Stopping: the server is told to stop.
            NotFound: there is no such round.
        """
        if self._stopping:
            raise Stopping
        lookout = self._lookout(training_id, number)
        over = lookout.join(self._clock.now() + seconds)
        leaving = asyncio.create_task(departure())
        leaving.add_done_callback(_looked_at)
        try:
            done, _ = await asyncio.wait([over, leaving], return_when=asyncio.FIRST_COMPLETED)
            await (over if over in done else leaving)
        finally:
            leaving.cancel()
            lookout.leave(over)

    def notice(self, training_id: str) -> None:
        """Look at once whether the waits for a training's rounds are over: this process has changed the training."""
        for (waited_for, _), lookout in self._lookouts.items():
            if waited_for == training_id:
                lookout.look()

    def stop(self) -> None:
        """End every wait with `Stopping`, those to come included: the server stops."""
        self._stopping = True
        for lookout in self._lookouts.values():
            lookout.fail(Stopping())

    async def close(self) -> None:
        """End every wait, and ask the database nothing more."""
        self.stop()
        await asyncio.gather(*(lookout.close() for lookout in self._lookouts.values()))

    def _lookout(self, training_id: str, number: int) -> "_Lookout":
        key = (training_id, number)
        if key not in self._lookouts:
            self._lookouts[key] = _Lookout(lambda: self._is_over(*key), self._clock, lambda: self._lookouts.pop(key))
        return self._lookouts[key]

    async def _is_over(self, training_id: str, number: int) -> bool:
        async with self._db.glance() as tx:
            standing = await tx.rounds.standing(training_id, number)
        moved_on = standing.status in ENDED and standing.stop_after != number
        return moved_on or standing.training_status != "running"


class _Lookout:
    """Asks whether the wait for one round is over, as long as anybody waits for it. Calls `ended` at its end."""

    def __init__(
        self, is_over: Callable[[], Coroutine[Any, Any, bool]], clock: Clock, ended: Callable[[], object]
    ) -> None:
        self._is_over = is_over
        self._clock = clock
        self._ended = ended
        self._waiting: dict[asyncio.Future[None], float] = {}
        self._called = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def join(self, until: float) -> asyncio.Future[None]:
        """Give what is done when the wait is over, at the latest when it is `until`, unix seconds."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        over.add_done_callback(_looked_at)
        self._waiting[over] = until
        self.look()
        return over

    def leave(self, over: asyncio.Future[None]) -> None:
        """Forget who waits for `over`. A question that is under way is not called off: that takes the database too."""
        self._waiting.pop(over, None)
        if not self._waiting:
            self.look()

    def look(self) -> None:
        """Ask at once."""
        self._called.set()

    def fail(self, error: Exception) -> None:
        """End the wait of everybody with this error."""
        for over in list(self._waiting):
            self._end(over, error)

    async def close(self) -> None:
        """Ask nothing more."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        try:
            while self._waiting:
                self._called.clear()
                asking = list(self._waiting)  # who joins meanwhile may have changed what the answer tells
                is_over, now = await self._is_over(), self._clock.now()
                for over in asking:
                    if is_over or self._waiting.get(over, now) <= now:
                        self._end(over)
                if self._waiting:
                    left = max(0.0, min(self._waiting.values()) - now)
                    await self._rest(min(pause, left))
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        except Exception as error:  # noqa: BLE001  (each caller gets it, and knows what it means)
            self.fail(error)
        finally:
            self._ended()

    def _end(self, over: asyncio.Future[None], error: Exception | None = None) -> None:
        if self._waiting.pop(over, None) is None or over.done():
            return
        if error is None:
            over.set_result(None)
        else:
            over.set_exception(error)

    async def _rest(self, seconds: float) -> None:
        """Rest for `seconds`, or until `look` is called."""
        ends = [asyncio.create_task(self._clock.sleep(seconds)), asyncio.create_task(_set(self._called))]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                end.result()
        finally:
            for end in ends:
                end.cancel()


async def _set(event: asyncio.Event) -> None:
    await event.wait()


def _looked_at(future: asyncio.Future[Any]) -> None:
    """Mark an error as seen if it comes after all callers have gone, so that asyncio does not report it."""
    if not future.cancelled():
        future.exception()
