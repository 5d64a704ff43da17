"""Leases when the database's clock is set, on both databases."""

import pytest
from sqlalchemy import literal

from app.domain.instants import TOLERANCE_SECONDS
from app.store.database import Database
from app.store.leases import Claim
from tests.store.samples import training

LEASE = 600.0


async def claim(db: Database, owner: str, seconds: float = LEASE) -> Claim | None:
    async with db.begin() as tx:
        claimable = await tx.leases.claimable()
        claim = await tx.leases.claim(owner, seconds)
    assert claimable == (claim is not None)
    return claim


@pytest.mark.parametrize(
    ("step", "free"),
    [(0, False), (-0.5, False), (-60, True), (-3600, True), (-1e9, True), (300, False), (700, True), (1e9, True)],
)
async def test_a_lease_holds_for_its_own_time_by_a_clock_that_is_set(db: Database, step: float, *, free: bool) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training("t", status="running"))
    assert await claim(db, "a") is not None
    db.clock = db.clock + step
    taken = await claim(db, "b")
    assert (taken is not None) == free
    if taken is not None:
        assert (taken.previous_owner, taken.lease.fence) == ("a", 2)
        assert await claim(db, "c") is None, "it holds by the new clock"


async def test_a_longer_lease_of_another_server_is_believed(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training("t", status="running"))
    taken = await claim(db, "a", 3000.0)
    assert taken is not None
    assert await claim(db, "b", 1.0) is None
    async with db.begin() as tx:
        assert await tx.leases.renew([taken.lease], LEASE)
    assert await claim(db, "b", 1.0) is None
    db.clock = db.clock - 60.0
    assert await claim(db, "b", 1.0) is not None


@pytest.mark.parametrize(("now", "free"), [(1600.0, False), (1600.5, True), (999.0, False), (998.5, True)])
async def test_the_last_moment_of_a_lease_is_its_own_by_either_end(db: Database, now: float, *, free: bool) -> None:
    """It began at 1000, and may have begun a second later than now, since clocks differ."""
    assert TOLERANCE_SECONDS == 1.0
    async with db.begin() as tx:
        await tx.trainings.add(training("t", status="running"))
    db.clock = literal(1000.0)
    assert await claim(db, "a") is not None
    db.clock = literal(now)
    assert (await claim(db, "b") is not None) == free
