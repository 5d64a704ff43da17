"""Take what outside coordinators report of calls that they made, so that breakers and averages serve them, too."""

import random
from dataclasses import replace

from app.clock import Clock
from app.domain.clients import Client
from app.domain.events.clients import ClientHealthy
from app.domain.reports import Report, reported
from app.metrics import Metrics
from app.services.tasks.breakers import Breakers
from app.store.database import Database


class Outcomes:
    """Records reports. Each is one transaction."""

    def __init__(self, db: Database, clock: Clock, metrics: Metrics, breakers: Breakers, rng: random.Random) -> None:
        self._db = db
        self._clock = clock
        self._metrics = metrics
        self._breakers = breakers
        self._rng = rng

    async def report(self, client_id: str, report: Report, *, by: str) -> Client:
        """Record the outcome of a call that the caller named `by` made. Returns the client after it.

        Raises:
            NotFound: there is no such client.
        """
        now = self._clock.now()
        if report.failure is not None:
            told = replace(report.failure, reason=f"reported by {by}: {report.failure.reason}")
            report = replace(report, failure=told)
        async with self._db.begin() as tx:
            before = await tx.clients.get(client_id, for_update=True, labels=False)
            after = reported(before, report, now, self._rng)
            await tx.clients.put(after)
            await self._breakers.note(tx, before.breaker, after.breaker, client_id)
            if before.status != after.status:
                await tx.events.append(ClientHealthy(client_id=client_id, was=before.status))
        self._metrics.count_report(report.outcome, report.phase)
        return after
