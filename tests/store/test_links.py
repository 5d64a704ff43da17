"""What relays have measured of links, on both databases."""

import asyncio

import pytest

from app.domain.links import MeasuredLink
from app.store.database import Database

FULL = MeasuredLink(source="a", target="r", measured=2.0, measurements=1, measured_at=10.0, claimed=0.5)


async def stored(db: Database) -> list[MeasuredLink]:
    async with db.read() as tx:
        return await tx.links.all()


async def test_measurements_are_averaged_whoever_relays(db: Database) -> None:
    async with db.begin() as tx:
        await tx.links.observe("r", {"a": 2.0, "z": 4.0}, 10.0)
        await tx.links.observe("a", {"r": 3.0}, 11.0)
        await tx.links.observe("r", {}, 12.0)
    one, other = await stored(db)
    assert (one.pair, one.measurements, one.measured_at, one.claimed) == (("a", "r"), 2, 11.0, None)
    assert one.measured == pytest.approx(2.3)
    assert (other.pair, other.measured, other.measured_at) == (("r", "z"), 4.0, 10.0)


async def test_claimed_costs_are_kept_until_others_are_claimed(db: Database) -> None:
    async with db.begin() as tx:
        await tx.links.observe("r", {"a": 2.0, "z": 4.0}, 10.0)
        await tx.links.claim({("a", "r"): 0.5, ("r", "z"): 0.25, ("x", "y"): 1.0})
    assert (await stored(db))[0] == FULL
    async with db.begin() as tx:
        await tx.links.claim_anew([("a", "r")])
        await tx.links.claim_anew([])
    assert [link.claimed for link in await stored(db)] == [None, 0.25]
    async with db.begin() as tx:
        await tx.links.claim_anew([link.pair for link in await tx.links.all()])
    assert [link.claimed for link in await stored(db)] == [None, None]


async def test_links_that_were_measured_meanwhile_are_not_forgotten(db: Database) -> None:
    async with db.begin() as tx:
        await tx.links.observe("r", {"a": 2.0}, 10.0)
        await tx.links.observe("r", {"z": 4.0}, 20.0)
        await tx.links.forget([("a", "r"), ("r", "z")], 15.0)
        await tx.links.forget([], 30.0)
    assert [link.pair for link in await stored(db)] == [("r", "z")]


async def test_two_writers_of_the_same_links_wait_for_each_other_in_one_order(db: Database) -> None:
    async with db.begin() as tx:
        await tx.links.observe("r", {"b": 2.0}, 10.0)
        await tx.links.observe("r", {"a": 2.0}, 10.0)

    async def observe() -> None:
        async with db.begin() as tx:
            await tx.links.observe("r", {"b": 4.0, "a": 4.0}, 11.0)

    async with asyncio.TaskGroup() as group, db.begin() as tx:
        await tx.links.claim({("a", "r"): 0.5})
        group.create_task(observe())
        await asyncio.sleep(0.1)  # it waits for the first link, and has not locked the second one
        await tx.links.claim({("b", "r"): 0.25})
    assert [(link.claimed, link.measurements) for link in await stored(db)] == [(0.5, 2), (0.25, 2)]
