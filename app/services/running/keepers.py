"""Keep the leases of the trainings that a process drives: check whether they are still valid, and renew them in time.

One task does this for all leases: a process may hold hundreds of them, mostly for trainings that wait for clients, and
a separate task for each would cost more than everything else that a waiting training does.
"""

import asyncio
import time
from collections.abc import Collection
from contextvars import Context
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.settings import CoordinatorSettings
from app.store.database import Database, is_outage
from app.store.leases import Lease
from app.store.outages import Outage

RENEWALS = 3  # in the time of a lease

log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Kept:
    """A lease, when it was renewed last (monotonic seconds), and whether it can no longer be kept."""

    lease: Lease
    renewed: float
    over: asyncio.Event = field(default_factory=asyncio.Event)


class LeaseKeeper:
    """Keeps any number of leases. `outage` tells whether they can be renewed."""

    def __init__(self, db: Database, settings: CoordinatorSettings) -> None:
        self._db = db
        self._seconds = settings.lease_seconds
        self._tick = settings.tick_seconds
        self._trusted = settings.lease_seconds - settings.tick_seconds
        self._kept: set[_Kept] = set()
        self._keeping: asyncio.Task[None] | None = None
        self.outage = Outage()

    async def keep(self, lease: Lease) -> None:
        """Return once the lease is lost, or about to be, even if the database does not answer."""
        kept = _Kept(lease, time.monotonic())
        self._kept.add(kept)
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep_all(), context=Context())  # it works for no one training
        try:
            await kept.over.wait()
        finally:
            self._kept.discard(kept)
            if not self._kept and self._keeping is not None:
                keeping, self._keeping = self._keeping, None
                keeping.cancel()
                await asyncio.wait([keeping])
        if self._age(kept) >= self._trusted:
            log.warning("the lease ran out")

    async def _keep_all(self) -> None:
        while True:
            await asyncio.sleep(self._tick - time.monotonic() % self._tick)
            kept = [one for one in self._kept if not one.over.is_set()]
            try:
                async with asyncio.timeout(self._trusted - max(map(self._age, kept), default=0.0)):
                    await self._look(kept)
            except TimeoutError:  # of the database's making, or this process has stood still: who knows
                pass
            except (SQLAlchemyError, OSError) as error:
                if is_outage(error):
                    self.outage.meet(error)
                else:
                    log.warning("leases could not be renewed", exc_info=True)
            except Exception:
                log.exception("the leases could not be checked")
            for one in kept:
                if self._age(one) >= self._trusted:
                    one.over.set()

    async def _look(self, kept: Collection[_Kept]) -> None:
        """Renew the leases that are due, and find out which ones are somebody else's by now.

        All become due together. One whose row another transaction holds is due until it has been renewed.
        """
        began = time.monotonic()
        period = self._seconds / RENEWALS
        due = [one for one in kept if one.renewed // period != began // period]
        if due:
            async with self._db.begin() as tx:
                renewed = await tx.leases.renew([one.lease for one in due], self._seconds)
            for one in due:
                if one.lease in renewed:
                    one.renewed = began
            self.outage.end()
        async with self._db.glance() as tx:
            held = await tx.leases.held([one.lease for one in kept])
        for one in kept:
            if one.lease not in held:
                one.over.set()

    def _age(self, kept: _Kept) -> float:
        return time.monotonic() - kept.renewed
