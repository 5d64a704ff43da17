"""Signs of life that change nothing but an instant: they are written together, a moment later.

Most heartbeats say only that a healthy client is still there. In a large fleet, a transaction for each of them would
take more time than the rounds. So a process remembers which clients it has written as healthy within the last interval,
and from which instance. A further sign of life of such a client is noted in memory, and once a second all that were
noted are written in one transaction. Where the stored client is no longer healthy, or is gone, it is forgotten here, so
that its next heartbeat is written at once.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from app.clock import Clock
from app.store.database import Database
from app.store.outages import Outage

LONGEST_DELAY = 1.0  # seconds until a sign of life is written
DELAYS = 4  # in an interval, where that is shorter
CLOSE_SECONDS = 2.0
WRITTEN_TOGETHER = 200  # some 10 ms of a transaction


@dataclass(frozen=True, slots=True)
class _Known:
    """A client that was healthy in the database at `at` (unix seconds), as its agent's `instance` said."""

    instance: str | None
    at: float


class SignsOfLife:
    """The heartbeats that one process has taken and not yet written."""

    def __init__(self, db: Database, clock: Clock, *, interval: float) -> None:
        self._db = db
        self._clock = clock
        self._interval = interval
        self._known: dict[str, _Known] = {}
        self._noted: dict[str, float] = {}
        self._outage = Outage()

    @property
    def waiting(self) -> int:
        """How many clients' signs of life are not written yet."""
        return len(self._noted)

    def remember(self, client_id: str, instance: str | None) -> None:
        """Record that a client was just written as healthy."""
        self._known[client_id] = _Known(instance, self._clock.now())

    def forget(self, client_ids: Iterable[str]) -> None:
        """Let the next heartbeats of these clients be written at once."""
        for client_id in client_ids:
            self._known.pop(client_id, None)
            self._noted.pop(client_id, None)

    def note(self, client_id: str, instance: str | None) -> bool:
        """Note a sign of life to write later; return False if it has to be written now."""
        known, now = self._known.get(client_id), self._clock.now()
        if known is None or known.instance != instance or not 0.0 <= now - known.at < self._interval:
            return False
        self._noted[client_id] = now
        return True

    async def run(self) -> None:
        """Write what was noted until cancelled; a write that fails is made again."""
        while True:
            await asyncio.sleep(min(LONGEST_DELAY, self._interval / DELAYS))
            await self._outage.outlast(self.write, "signs of life could not be written")

    async def close(self) -> None:
        """Write what is left, once `run` is cancelled. Signs of life that cannot be written now are lost."""
        with suppress(TimeoutError), self._outage.tolerated():
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.write()

    async def write(self) -> None:
        """Write what was noted until now. What is noted meanwhile waits for the next time, with others."""
        now = self._clock.now()
        self._known = {name: known for name, known in self._known.items() if 0.0 <= now - known.at < self._interval}
        noted = sorted(self._noted.items())
        for start in range(0, len(noted), WRITTEN_TOGETHER):
            some = dict(noted[start : start + WRITTEN_TOGETHER])
            async with self._db.begin() as tx:
                healthy = await tx.clients.seen(some)
            for client_id, at in some.items():
                if self._noted.get(client_id) == at:  # else it was heard from again meanwhile
                    del self._noted[client_id]
                if client_id not in healthy:
                    self.forget([client_id])
                elif (known := self._known.get(client_id)) is not None:
                    self._known[client_id] = _Known(known.instance, now)
