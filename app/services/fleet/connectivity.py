"""The connectivity matrix and the topology that it spans over the registered clients."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import structlog

from app.clock import Clock
from app.domain.clients import Client
from app.domain.events.clients import ConnectivityReplaced
from app.domain.links import MeasuredLink, Pair, fed, pair_of
from app.store.database import Database
from app.store.transaction import Transaction
from app.threads import in_thread
from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.network.topology import TopologyStats, topology_stats

log = structlog.get_logger(__name__)

_LEAST_BYTES, _NAME_BYTES = 65_536, 128

Build = Callable[[Collection[str]], Connectivity]


class LatestConnectivity:
    """The newest matrix, loaded once a version: what the domain derives from it is kept with the object."""

    def __init__(self) -> None:
        self._cached = Connectivity.empty()

    async def get(self, tx: Transaction) -> Connectivity:
        """The newest matrix that the transaction sees, the empty one where none was stored."""
        if self._cached.version != await tx.connectivity.latest_version():
            self._cached = await tx.connectivity.latest()
        return self._cached

    def keep(self, value: Connectivity) -> None:
        """Spare the next reader loading what was stored just now."""
        self._cached = value


class ConnectivityMatrix:
    """Use cases around the matrix. Building and checking one happens in a thread, outside any transaction."""

    def __init__(self, db: Database, latest: LatestConnectivity, clock: Clock) -> None:
        self._db = db
        self._latest = latest
        self._clock = clock

    async def latest(self) -> Connectivity:
        """The newest matrix, the empty one where none was stored."""
        async with self._db.read() as tx:
            return await self._latest.get(tx)

    async def latest_version(self) -> int:
        """The number of the newest matrix, 0 where none was stored."""
        async with self._db.read() as tx:
            return await tx.connectivity.latest_version()

    async def most_bytes(self, cell_bytes: int) -> int:
        """How many bytes a matrix of the registered clients may have, its names included."""
        async with self._db.read() as tx:
            clients = sum((await tx.clients.count_by_status()).values())
        return _LEAST_BYTES + _NAME_BYTES * clients + cell_bytes * clients**2

    async def replace(self, build: Build) -> int:
        """Store what `build` makes of the registered ids, as a new version. Raises what `build` raises."""
        async with self._db.read() as tx:
            known = frozenset(await tx.clients.ids())
        value = await in_thread("matrices", build, known)
        async with self._db.begin() as tx:
            await tx.connectivity.lock()
            version = await self._store(tx, value)
            await tx.links.claim_anew([link.pair for link in await tx.links.all()])
        self._latest.keep(replace(value, version=version))
        return version

    async def change(self, edges: Iterable[Edge]) -> int:
        """Set or remove some links, as a new version; they may be asked for again. Raises `InvalidConnectivity`."""
        while True:
            async with self._db.read() as tx:
                known = frozenset(await tx.clients.ids())
                before = await self._latest.get(tx)
            value = await in_thread("matrices", _changed, before, edges, known)
            async with self._db.begin() as tx:
                await tx.connectivity.lock()
                if await tx.connectivity.latest_version() != before.version:  # another writer was faster: try again
                    continue
                version = await self._store(tx, value)
                if links := await tx.links.all():
                    await tx.links.claim_anew(await in_thread("matrices", _among, links, edges))
            self._latest.keep(replace(value, version=version))
            return version

    async def measured(self) -> list[MeasuredLink]:
        """What relays have measured of links."""
        async with self._db.read() as tx:
            return await tx.links.all()

    async def tick(self) -> None:
        """Let the matrix follow what relays have measured, as a new version if that changes costs noticeably."""
        async with self._db.read() as tx:
            if not (links := await tx.links.all()):
                return
            known = frozenset(await tx.clients.ids())
            before = await self._latest.get(tx)
        now = self._clock.now()
        changes = fed(links, await in_thread("matrices", _costs, before, links), now)
        edges = [Edge(one, other, cost) for (one, other), cost in changes.costs.items() if {one, other} <= known]
        if not (edges or changes.claimed or changes.forgotten):
            return
        value = await in_thread("matrices", _changed, before, edges, known) if edges else before
        async with self._db.begin() as tx:
            await tx.connectivity.lock()
            if await tx.connectivity.latest_version() != before.version:  # the next tick looks at that one
                return
            version = await self._store(tx, value) if edges else before.version
            await tx.links.claim(changes.claimed)
            await tx.links.forget(changes.forgotten, max(link.measured_at for link in links))
        self._latest.keep(replace(value, version=version))
        if edges:
            log.info("the matrix follows what relays have measured", version=version, links=len(edges))

    async def topology(self) -> TopologyStats:
        """Statistics over the registered clients and their links."""
        async with self._db.read() as tx:
            clients = await tx.clients.all(labels=False)
            connectivity = await self._latest.get(tx)
        return await in_thread("matrices", _topology, connectivity, clients)

    async def _store(self, tx: Transaction, value: Connectivity) -> int:
        version = await tx.connectivity.add(value, self._clock.now())
        await tx.events.append(ConnectivityReplaced(version=version, clients=len(value.client_ids)))
        return version


def _among(links: Iterable[MeasuredLink], edges: Iterable[Edge]) -> list[Pair]:
    """Return which of the links are set or removed. There can be millions of edges, which are not kept."""
    measured = dict.fromkeys((link.pair for link in links), False)
    for edge in edges:
        if (pair := pair_of(edge.source, edge.target)) in measured:
            measured[pair] = True
    return [pair for pair, changed in measured.items() if changed]


def _costs(connectivity: Connectivity, links: Iterable[MeasuredLink]) -> dict[Pair, float]:
    """Return the costs of those of the links that the matrix has."""
    found: dict[Pair, float] = {}
    for source, group in groupby(links, key=lambda link: link.source):
        neighbours = connectivity.neighbours(source)
        found |= {link.pair: neighbours[link.target] for link in group if link.target in neighbours}
    return found


def _topology(connectivity: Connectivity, clients: Sequence[Client]) -> TopologyStats:
    return topology_stats(connectivity, [client.candidate() for client in clients])


def _changed(before: Connectivity, edges: Iterable[Edge], known: Collection[str]) -> Connectivity:
    """The matrix with some links changed; clients that were removed meanwhile are gone from it."""
    left = before.restricted([client_id for client_id in before.client_ids if client_id in known])
    return left.with_edges(edges, known=known)
