"""Keeping the leases of the trainings that a process drives: looking whether they hold, and renewing them in time."""

import asyncio
import time
from collections.abc import Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.services.outages import Outage
from app.services.rounds.batches import Batches
from app.settings import CoordinatorSettings
from app.store.database import Database, is_outage
from app.store.leases import Fenced, Lease

LOOKS_TOGETHER = 500  # leases in one query

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Keeps any number of leases. `outage` tells whether they can be renewed."""

    def __init__(self, db: Database, settings: CoordinatorSettings) -> None:
        self._db = db
        self._settings = settings
        self._looks = Batches(self._look, limit=LOOKS_TOGETHER)
        self.outage = Outage()

    async def keep(self, lease: Lease) -> None:
        """Return once the lease is lost, or about to be, also where the database has fallen silent."""
        renewed = time.monotonic()
        trusted = self._settings.lease_seconds - self._settings.tick_seconds
        while True:
            await asyncio.sleep(_until_next(self._settings.tick_seconds))  # all keepers together: see `_look`
            if (age := time.monotonic() - renewed) >= trusted:
                break
            try:
                async with asyncio.timeout(trusted - age):
                    if age < self._settings.lease_seconds / 3:
                        if not await self._looks.put(None, lease):
                            return
                    else:
                        began = time.monotonic()
                        async with self._db.begin() as tx:
                            await tx.leases.renew(lease, self._settings.lease_seconds)
                        renewed = began
                        self.outage.end()
            except Fenced:
                return
            except TimeoutError:  # of the database's making, or this process has stood still: who knows
                break
            except (SQLAlchemyError, OSError) as error:
                if is_outage(error):
                    self.outage.meet(error)
                else:
                    log.warning("the lease could not be renewed", exc_info=True)
        log.warning("the lease ran out")

    async def _look(self, _key: None, leases: Sequence[Lease]) -> list[bool]:
        """Whether each of the leases still holds: one query for those that are asked about at the same time."""
        async with self._db.glance() as tx:
            held = await tx.leases.held(leases)
        return [lease in held for lease in leases]


def _until_next(tick: float) -> float:
    """Seconds until the next instant at which everything looks that looks once a `tick`, in seconds."""
    return tick - time.monotonic() % tick
