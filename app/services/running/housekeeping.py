"""Remove what killed processes left on the disk, and what is not kept, and encrypt what an earlier version stored.

Models, events, audit records and idempotency keys are kept for as long as the settings say.

An owner empties the spool of its round at the end, and a failed upload removes its bytes. Neither happens if the
process dies first, or if the round was finished on another machine.
"""

import asyncio
from typing import Protocol

import structlog

from app.domain.errors import NotFound
from app.domain.rounds import ENDED
from app.services.rounds.files import RoundFiles
from app.store.database import Database
from app.store.outages import Outage
from app.threads import in_thread

log = structlog.get_logger(__name__)

PERIOD = 60.0  # seconds from one tick to the next
STALE_SECONDS = 3600.0  # since its last byte: after that, no process still writes to an unfinished file


class Upkeep(Protocol):
    """Keeps one kind of stored things in order, such as by removing what is no longer kept."""

    async def tick(self) -> None:
        """Do some of it, or all."""
        ...


class Housekeeper:
    """One per process, for the directories that the process writes to. It ticks each upkeep, in their order."""

    def __init__(self, db: Database, files: RoundFiles, *upkeeps: Upkeep) -> None:
        self._db = db
        self._files = files
        self._upkeeps = upkeeps
        self._outage = Outage()

    async def run(self) -> None:
        """Tick until cancelled; a tick that fails is logged and the loop goes on."""
        while True:
            await self._outage.outlast(self.tick, "housekeeping failed")
            await asyncio.sleep(PERIOD)  # of the machine, whose clock dates the files

    async def tick(self) -> None:
        """Empty the spools of rounds that are over, remove abandoned files and what is not kept, and encrypt tokens."""
        spools = await in_thread("files", self._files.spooled)
        over = [(training_id, number) for training_id, number in spools if await self._is_over(training_id, number)]
        for training_id, number in over:
            await in_thread("files", self._files.empty_spool, training_id, number)
        unfinished = await in_thread("files", self._files.sweep, STALE_SECONDS)
        if over or unfinished:
            log.info("removed leftover files", spools=len(over), unfinished_files=unfinished)
        for upkeep in self._upkeeps:
            await upkeep.tick()

    async def _is_over(self, training_id: str, number: int) -> bool:
        async with self._db.read() as tx:
            try:
                return (await tx.rounds.standing(training_id, number)).status in ENDED
            except NotFound:  # of another database, which used this directory before
                return True
