"""The connectivity matrix and the topology that it spans over the registered clients."""

import asyncio
from collections.abc import Callable, Collection, Iterable

from app.clock import Clock
from app.domain.connectivity import Connectivity, Edge
from app.domain.topology import TopologyStats, topology_stats
from app.store.database import Database

Build = Callable[[Collection[str]], Connectivity]


class ConnectivityMatrix:
    """Use cases around the matrix. Building and checking one happens in a thread, outside any transaction."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def latest(self) -> Connectivity:
        async with self._db.read() as tx:
            return await tx.connectivity.latest()

    async def latest_version(self) -> int:
        async with self._db.read() as tx:
            return await tx.connectivity.latest_version()

    async def replace(self, build: Build) -> int:
        """Store what `build` makes of the registered ids, as a new version. Raises what `build` raises."""
        async with self._db.read() as tx:
            known = frozenset(await tx.clients.ids())
        value = await asyncio.to_thread(build, known)
        return await self._store(value)

    async def change(self, edges: Iterable[Edge]) -> int:
        """Set or remove some links, as a new version. Raises `InvalidConnectivity`."""
        async with self._db.read() as tx:
            known = frozenset(await tx.clients.ids())
            before = await tx.connectivity.latest()
        value = await asyncio.to_thread(lambda: before.with_edges(edges, known=known))
        return await self._store(value)

    async def topology(self) -> TopologyStats:
        """Statistics over the registered clients and their links."""
        async with self._db.read() as tx:
            clients = await tx.clients.all()
            connectivity = await tx.connectivity.latest()
        candidates = [client.candidate() for client in clients]
        return await asyncio.to_thread(topology_stats, connectivity, candidates)

    async def _store(self, value: Connectivity) -> int:
        now = self._clock.now()
        async with self._db.begin() as tx:
            version = await tx.connectivity.add(value, now)
            await tx.events.append("connectivity.replaced", now, version=version, clients=len(value.client_ids))
        return version
