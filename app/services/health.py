"""Who is alive: heartbeats, and a probe for clients that were not heard from."""

import asyncio
import contextlib
from dataclasses import replace

import structlog

from app.clock import Clock
from app.domain.clients import Client, liveness
from app.domain.errors import NotFound
from app.services.agents import AgentCaller
from app.services.connections import PROBE_CONNECTIONS
from app.services.outages import Outage
from app.settings import HealthSettings
from app.store.database import Database

log = structlog.get_logger(__name__)


class HealthProber:
    """Probes silent clients and sets their status."""

    def __init__(self, db: Database, caller: AgentCaller, settings: HealthSettings, clock: Clock) -> None:
        self._db = db
        self._caller = caller
        self._interval = settings.interval_seconds
        self._clock = clock
        self._places = asyncio.Semaphore(PROBE_CONNECTIONS)
        self._outage = Outage()

    async def run(self) -> None:
        """Tick until cancelled; a tick that fails is logged and the loop goes on."""
        while True:
            await self._clock.sleep(self._interval / 2)
            await self._outage.outlast(self.tick, "health tick failed")

    async def tick(self) -> None:
        """Probe every client that was silent for more than an interval, or did not answer when it was called."""
        now = self._clock.now()
        async with self._db.read() as tx:
            clients = await tx.clients.all()
        async with asyncio.TaskGroup() as probes:
            for client in clients:
                if client.status != "healthy" or liveness(now - _last_sign(client), self._interval) != "healthy":
                    probes.create_task(self._probe(client))

    async def _probe(self, client: Client) -> None:
        async with self._places:
            alive = await self._caller.is_healthy(client.profile)
        with contextlib.suppress(NotFound):  # it was removed meanwhile
            await self._set(client.id, alive=alive)

    async def _set(self, client_id: str, *, alive: bool) -> None:
        async with self._db.begin() as tx:
            stored = await tx.clients.get(client_id, for_update=True)
            now = self._clock.now()
            seen = replace(stored, last_seen_at=now) if alive else stored
            status = liveness(now - _last_sign(seen), self._interval)
            if not alive and status == "healthy":
                status = stored.status  # a sign of life from before does not outweigh a probe that failed
            await tx.clients.put(replace(seen, status=status))
            if status != stored.status:
                await tx.events.append(f"client.{status}", now, client_id=client_id, was=stored.status)
                log.info("client", client=client_id, status=status, was=stored.status)


def _last_sign(client: Client) -> float:
    """A registration counts as one (the agent gets an interval to come up), a change of the profile does not."""
    return client.created_at if client.last_seen_at is None else client.last_seen_at
