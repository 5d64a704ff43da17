"""Keep a process's clock equal to the database's clock, which all processes share.

A coordinator does this in its ticks. A process that only answers calls needs it just as much, since it stores when it
heard from a client.
"""

import asyncio

from app.clock import Clock
from app.store.database import Database
from app.store.outages import Outage

PERIOD = 1.0  # seconds from one look to the next


class Timekeeper:
    """One per process."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._outage = Outage()

    async def run(self) -> None:
        """Tick until cancelled; a tick that fails is logged and the loop goes on."""
        while True:
            await self._outage.outlast(self.tick, "the database's time could not be read")
            await asyncio.sleep(PERIOD)  # by the machine's own time: the clock is what is being set

    async def begin(self) -> None:
        """Take the time over before anything is written down, if the database is there already."""
        with self._outage.tolerated():
            await self.tick()

    async def tick(self) -> None:
        """Take the database's time over."""
        async with self._db.glance() as tx:
            self._clock.adopt(await tx.now())
