"""Set the health of clients, by heartbeats and by probes of clients that sent none.

A probe of a client whose device has a key is also the proof that its address belongs to this device. So clients without
such a proof are probed as well.

A tick starts no probe after half an interval, and each probe has a time limit, so that no agent delays the others.
A client whose agent pulls its tasks has no address: it is not called, and its status follows from its silence alone.
Clients that a tick did not reach are first in the next one, beginning with the client that was probed longest ago. The
results of probes are written in batches, and only if they change something: a fleet that is off causes no writes.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping

import structlog

from app.clock import Clock
from app.domain.clients import Client, Endpoint, Health
from app.domain.events.clients import HEALTH, identity_events
from app.domain.liveness import needs_probe, probed
from app.services.tasks.channels import Channel
from app.services.tasks.connections import PROBE_CONNECTIONS
from app.settings import HealthSettings
from app.store.database import Database
from app.store.outages import Outage

log = structlog.get_logger(__name__)

PAGE = 500  # clients that are read in one transaction
BATCH = 100  # clients whose probes are noted in one transaction

Probe = tuple[Endpoint, Health]


class HealthProber:
    """Probes silent clients and sets their status."""

    def __init__(self, db: Database, caller: Channel, settings: HealthSettings, clock: Clock) -> None:
        self._db = db
        self._caller = caller
        self._interval = settings.interval_seconds
        self._clock = clock
        self._probed: dict[str, float] = {}  # when each of those that are silent was probed last, by the loop's clock
        self._outage = Outage()

    async def run(self) -> None:
        """Tick until cancelled; a tick that fails is logged and the loop goes on."""
        while True:
            await self._clock.sleep(self._interval / 2)
            await self._outage.outlast(self.tick, "health tick failed")

    async def tick(self) -> None:
        """Probe the clients that were silent for more than an interval, or did not answer when they were called."""
        silent = await self._silent()
        self._probed = {client.id: self._probed.get(client.id, 0.0) for client in silent}
        await self._probe_all(sorted(silent, key=lambda client: self._probed[client.id]))

    async def prove(self, ids: Collection[str]) -> None:
        """Probe those of some clients that have to prove their addresses."""
        async with self._db.glance() as tx:
            known = await tx.clients.some(ids)
        await self._probe_all([client for client in known if client.has_to_prove])

    async def _probe_all(self, clients: Iterable[Client]) -> None:
        waiting = deque(clients)
        found: dict[str, Probe] = {}
        async with asyncio.TaskGroup() as probes:
            for _ in range(min(PROBE_CONNECTIONS, len(waiting))):
                probes.create_task(self._probe(waiting, found))
        await self._note(found)

    async def _silent(self) -> list[Client]:
        """Read those that may need a probe, a page in each transaction."""
        now = self._clock.now()
        silent: list[Client] = []
        after: str | None = None
        while True:
            async with self._db.glance() as tx:
                page = await tx.clients.to_probe(now, self._interval, limit=PAGE, after=after)
            silent += [client for client in page.items if needs_probe(client, now, self._interval)]
            if not page.more:
                return silent
            after = page.items[-1].id

    async def _probe(self, waiting: deque[Client], found: dict[str, Probe]) -> None:
        """Ask one client after the other, as long as a tick may take; `found` gets what they answered."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._interval / 2
        while waiting and loop.time() < end:
            client = waiting.popleft()
            self._probed[client.id] = loop.time()
            found[client.id] = client.endpoint, await self._health(client.endpoint)
            if len(found) >= BATCH:
                batch = dict(found)
                found.clear()
                await self._note(batch)

    async def _health(self, agent: Endpoint) -> Health:
        """Ask an agent whether it can train. One that pulls cannot be asked, so that only its silence counts."""
        return Health(alive=False) if agent.pulls else await self._caller.health(agent)

    async def _note(self, found: Mapping[str, Probe]) -> None:
        """Write what the answers change."""
        async with self._db.glance() as tx:
            stored = await tx.clients.some(found)
        changing = [client.id for client in stored if self._after(client, found) != client]
        if not changing:
            return
        async with self._db.begin() as tx:
            locked = await tx.clients.lock(changing)  # those that were not removed meanwhile
            changed = [(before, self._after(before, found)) for before in locked]
            await tx.clients.put(*(after for _, after in changed))
            for before, after in changed:
                if after.status != before.status:
                    await tx.events.append(HEALTH[after.status](client_id=before.id, was=before.status))
                    log.info("client", client=before.id, status=after.status, was=before.status)
                for event in identity_events(before, after):
                    await tx.events.append(event)
                    log.info("the address of a client answered", client=before.id, outcome=event.type)

    def _after(self, client: Client, found: Mapping[str, Probe]) -> Client:
        called, health = found[client.id]
        now = self._clock.now()
        return probed(client, now, self._interval, alive=health.alive).identified(called, health, now)
