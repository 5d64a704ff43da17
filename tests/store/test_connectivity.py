"""Versions of the connectivity matrix, on both databases."""

import asyncio
from typing import Any

import numpy as np
import pytest

from app.store.database import Database
from tcsfeel.network.connectivity import Connectivity, Edge
from tests.store.samples import NOW, a_round, training


async def add(db: Database, value: Connectivity) -> int:
    async with db.begin() as tx:
        return await tx.connectivity.add(value, NOW)


async def latest(db: Database) -> Connectivity:
    async with db.read() as tx:
        assert await tx.connectivity.latest_version() == (await tx.connectivity.latest()).version
        return await tx.connectivity.latest()


async def versions(db: Database) -> list[int]:
    async with db.read() as tx:
        found = await tx.connection.exec_driver_sql("SELECT version FROM connectivity ORDER BY version")
        return list(found.scalars())


async def test_before_the_first_one_there_is_the_empty_version_0(db: Database) -> None:
    empty = await latest(db)
    assert (empty.version, empty.client_ids, empty.num_edges) == (0, (), 0)


async def test_links_that_cost_nothing_and_links_that_are_not_there_stay_apart(db: Database) -> None:
    edges = [Edge("a", "b", 0.0), Edge("b", "c", 0.1)]  # and none between a and c
    await add(db, Connectivity.from_edges(["a", "b", "c", "alone"], edges))
    stored = await latest(db)
    assert stored.client_ids == ("a", "b", "c", "alone")
    assert stored.neighbours("a") == {"b": 0.0}
    assert stored.neighbours("b") == {"a": 0.0, "c": pytest.approx(0.1)}
    assert stored.neighbours("alone") == {}
    assert list(stored.edges()) == [Edge("a", "b", 0.0), Edge("b", "c", float(np.float32(0.1)))]


@pytest.mark.parametrize("share", [0.005, 0.02, 0.05, 0.8, 1.0])
async def test_every_array_comes_back_to_the_bit(db: Database, share: float) -> None:
    """With few links of all, about as many as decide for another form, many, and all there can be."""
    rng = np.random.default_rng(7)
    dense = rng.random((40, 40)).astype(np.float32)
    dense[rng.random((40, 40)) >= share] = np.inf
    dense = np.triu(dense, 1) + np.triu(dense, 1).T
    dense[0, 39] = dense[39, 0] = 0
    value = Connectivity.from_matrix([f"c{row}" for row in range(40)], dense)
    await add(db, value)
    stored = (await latest(db)).costs
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(value.costs, name))
        assert getattr(stored, name).dtype == getattr(value.costs, name).dtype
    assert stored.data.dtype == np.float32


async def test_a_matrix_of_nobody_can_be_stored(db: Database) -> None:
    await add(db, Connectivity.empty())
    stored = await latest(db)
    assert (stored.version, stored.client_ids, stored.costs.shape) == (1, (), (0, 0))


async def test_versions_count_up_and_old_ones_go(db: Database) -> None:
    numbers = [await add(db, Connectivity.empty([name])) for name in ("a", "b", "c")]
    assert numbers == [1, 2, 3]
    assert await versions(db) == [3]
    assert (await latest(db)).client_ids == ("c",)


async def test_a_version_that_a_round_was_planned_on_stays(db: Database) -> None:
    named: dict[str, Any] = {"connectivity_version": await add(db, Connectivity.empty(["a"]))}
    async with db.begin() as tx:
        await tx.trainings.add(training())
        await tx.rounds.add(a_round(**named))
        await tx.rounds.add(a_round(number=2))  # not planned yet: it names none
    await add(db, Connectivity.empty(["b"]))
    await add(db, Connectivity.empty(["c"]))
    assert await versions(db) == [1, 3]


async def test_changes_at_once_that_hold_the_matrix_lose_none(db: Database) -> None:
    async def link(name: str) -> None:
        async with db.begin() as tx:
            await tx.connectivity.lock()
            value = (await tx.connectivity.latest()).with_edges([Edge("hub", name, 1.0)], known=["hub", name])
            await tx.connectivity.add(value, NOW)

    await asyncio.gather(*map(link, "abcdef"))
    stored = await latest(db)
    assert stored.version == 6
    assert set(stored.neighbours("hub")) == set("abcdef")


async def test_readers_do_not_wait_for_whoever_holds_the_matrix(db: Database) -> None:
    async with asyncio.timeout(20), db.begin() as tx:
        await tx.connectivity.lock()
        assert (await latest(db)).version == 0
