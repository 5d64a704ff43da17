"""The newest matrix is in memory once it has been written or read here, until somebody else writes another."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from threading import get_ident

import pytest

from app.clock import SystemClock
from app.services.fleet.connectivity import ConnectivityMatrix, LatestConnectivity
from app.store.database import Database
from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.network.matrix import InvalidConnectivity
from tests.store.samples import client


def matrix(db: Database) -> ConnectivityMatrix:
    return ConnectivityMatrix(db, LatestConnectivity(), SystemClock())


async def test_what_was_stored_here_is_not_loaded_again(sqlite: Database) -> None:
    value = Connectivity.from_edges("ab", [Edge("a", "b", 1)])
    ours = matrix(sqlite)

    version = await ours.replace(lambda _: value)

    latest = await ours.latest()
    assert (latest.version, latest.costs) == (version, value.costs)
    assert await ours.latest() is latest


async def test_what_another_server_stored_is(sqlite: Database) -> None:
    ours, other = matrix(sqlite), matrix(sqlite)
    await ours.replace(lambda _: Connectivity.from_edges("ab", [Edge("a", "b", 1)]))

    version = await other.replace(lambda _: Connectivity.from_edges("ab", [Edge("a", "b", 2)]))

    latest = await ours.latest()
    assert (latest.version, list(latest.edges())) == (version, [Edge("a", "b", 2.0)])


async def test_nothing_is_kept_of_what_could_not_be_stored(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = matrix(sqlite)

    async def fail(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("app.store.events.EventRepository.append", fail)
    with pytest.raises(OSError):
        await ours.replace(lambda _: Connectivity.from_edges("ab", [Edge("a", "b", 1)]))

    assert (await ours.latest()).version == 0


async def test_a_version_is_kept_until_the_database_has_another(sqlite: Database) -> None:
    latest, value = LatestConnectivity(), Connectivity.from_edges("ab", [Edge("a", "b", 1)])
    async with sqlite.begin() as tx:
        version = await tx.connectivity.add(value, 1.0)
    kept = replace(value, version=version)
    latest.keep(kept)
    async with sqlite.read() as tx:
        assert await latest.get(tx) is kept
    async with sqlite.begin() as tx:
        await tx.connectivity.add(value, 2.0)
        assert (await latest.get(tx)).version == version + 1


async def test_some_links_are_changed_and_removed_clients_leave_the_matrix(db: Database) -> None:
    ours = matrix(db)
    assert await ours.latest_version() == 0
    async with db.begin() as tx:
        await tx.clients.add([client("a"), client("b"), client("c")])
    first = await ours.change([Edge("a", "b", 1.0), Edge("b", "c", 2.0)])
    assert await ours.latest_version() == first
    async with db.begin() as tx:
        await tx.clients.remove("c")
    second = await ours.change([Edge("a", "b", 3.0)])
    latest = await ours.latest()
    assert (latest.version, list(latest.edges())) == (second, [Edge("a", "b", 3.0)])
    assert second > first
    assert list(latest.client_ids) == ["a", "b"]
    with pytest.raises(InvalidConnectivity):
        await ours.change([Edge("a", "c", 1.0)])
    assert await ours.latest_version() == second
    async with db.read() as tx:
        told = [(event.type, event.data) for event in (await tx.events.after(0, limit=10)).items]
    assert told == [
        ("connectivity.replaced", {"version": first, "clients": 3}),
        ("connectivity.replaced", {"version": second, "clients": 2}),
    ]


async def test_a_change_waits_for_a_faster_writer_and_keeps_its_links(sqlite: Database) -> None:
    ours, other = matrix(sqlite), matrix(sqlite)
    async with sqlite.begin() as tx:
        await tx.clients.add([client("a"), client("b"), client("c")])

    await asyncio.gather(ours.change([Edge("a", "b", 1.0)]), other.change([Edge("b", "c", 2.0)]))
    costs = {frozenset((edge.source, edge.target)): edge.cost for edge in (await ours.latest()).edges()}
    assert costs == {frozenset("ab"): 1.0, frozenset("bc"): 2.0}  # the faster one decides which end is the source


async def test_the_topology_counts_every_registered_client(db: Database) -> None:
    ours = matrix(db)
    async with db.begin() as tx:
        await tx.clients.add([client("a"), client("b"), client("c")])
    await ours.change([Edge("a", "b", 1.0)])
    stats = await ours.topology()
    assert (stats.num_clients, stats.num_edges, stats.components, stats.bridges) == (3, 1, 2, 1)
    assert (stats.total_data, stats.avg_bandwidth) == (30, 8.0)


async def test_a_matrix_may_have_as_many_bytes_as_the_clients_have_pairs(db: Database) -> None:
    ours = matrix(db)
    assert await ours.most_bytes(20) == 65_536
    async with db.begin() as tx:
        await tx.clients.add([client("a"), client("b", status="down"), client("c")])
    assert await ours.most_bytes(20) == 65_536 + 3 * 128 + 9 * 20


async def test_the_matrix_follows_what_relays_have_measured(db: Database) -> None:
    ours = matrix(db)
    async with db.begin() as tx:
        await tx.clients.add([client("a"), client("b"), client("c")])
    await ours.tick()
    await ours.replace(lambda _: Connectivity.from_edges("abc", [Edge("a", "b", 0.5), Edge("b", "c", 0.5)]))
    now = SystemClock().now()
    async with db.begin() as tx:
        await tx.links.observe("a", {"b": 1.0}, now)
        await tx.links.observe("b", {"c": 0.55}, now)
    await ours.tick()
    latest = await ours.latest()
    assert (latest.version, list(latest.edges())) == (2, [Edge("a", "b", 1.0), Edge("b", "c", 0.5)])
    assert [(link.pair, link.claimed) for link in await ours.measured()] == [(("a", "b"), 0.5), (("b", "c"), 0.5)]
    await ours.tick()
    assert await ours.latest_version() == 2

    await ours.change([Edge("a", "b", 2.0)])  # somebody claims another cost, which the measurements do not leave alone
    assert [link.claimed for link in await ours.measured()] == [None, 0.5]
    await ours.tick()
    assert [link.claimed for link in await ours.measured()] == [2.0, 0.5]
    assert next(iter((await ours.latest()).edges())) == Edge("a", "b", 1.0)


class Long:
    """Links of a long body, which are parsed in each iteration."""

    def __init__(self) -> None:
        self.threads = set[int]()

    def __iter__(self) -> Iterator[Edge]:
        self.threads.add(get_ident())
        yield from (Edge("b", "a", 2.0), Edge("a", "c", 1.0))


async def test_links_to_change_are_read_in_a_thread_and_only_measured_ones_are_claimed_anew(sqlite: Database) -> None:
    ours, edges = matrix(sqlite), Long()
    async with sqlite.begin() as tx:
        await tx.clients.add([client("a"), client("b"), client("c")])
        await tx.links.observe("b", {"a": 1.0, "c": 1.0}, SystemClock().now())
        await tx.links.claim({("a", "b"): 0.5, ("b", "c"): 0.5})
    await ours.change(edges)
    assert [(link.pair, link.claimed) for link in await ours.measured()] == [(("a", "b"), None), (("b", "c"), 0.5)]
    assert get_ident() not in edges.threads


async def test_nothing_is_written_for_links_of_removed_clients(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = matrix(sqlite)
    await ours.replace(lambda _: Connectivity.from_edges("ab", [Edge("a", "b", 0.5)]))
    async with sqlite.begin() as tx:
        await tx.links.observe("a", {"b": 1.0}, SystemClock().now())
        await tx.links.claim({("a", "b"): 0.5})
    monkeypatch.setattr(sqlite, "begin", None)
    await ours.tick()
    assert list((await ours.latest()).edges()) == [Edge("a", "b", 0.5)]


async def test_the_matrix_has_the_claimed_costs_again_once_measurements_are_old(sqlite: Database) -> None:
    ours = matrix(sqlite)
    async with sqlite.begin() as tx:
        await tx.clients.add([client("a"), client("b")])
        await tx.links.observe("a", {"b": 1.0, "z": 1.0}, 0.0)
        await tx.links.claim({("a", "b"): 0.5})
    await ours.replace(lambda _: Connectivity.from_edges("ab", [Edge("a", "b", 1.0)]))
    async with sqlite.begin() as tx:
        await tx.links.claim({("a", "b"): 0.5})
    await ours.tick()
    assert list((await ours.latest()).edges()) == [Edge("a", "b", 0.5)]
    assert await ours.measured() == []
