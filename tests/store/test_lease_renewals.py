"""Renewals of leases, on both databases."""

import asyncio
from dataclasses import replace

import pytest

from app.store.database import Database
from app.store.leases import Claim, Lease
from tests.store.statements import statements
from tests.store.test_leases import LONG, OVER, add, claim, claimable, seconds_left, take


async def test_renewing_prolongs_the_lease(db: Database) -> None:
    await add(db, "t")
    lease = await take(db, seconds=OVER)
    assert await claimable(db)
    async with db.begin() as tx:
        assert await tx.leases.renew([lease], LONG) == {lease}
    assert LONG - 60 < await seconds_left(db) <= LONG
    assert not await claimable(db)


async def test_many_leases_are_renewed_together_and_lost_ones_left_out(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.leases.RENEWED_TOGETHER", 2)
    await add(db, "t", "u", "v")
    held = [await take(db, seconds=OVER) for _ in range(3)]
    lost = replace(held[1], fence=0)
    async with db.begin() as tx:
        assert await tx.leases.renew([held[0], lost, held[2]], LONG) == {held[0], held[2]}
        assert await tx.leases.renew([], LONG) == set()
    assert await claim(db, "b") == Claim(Lease(lost.training_id, "b", 2), "a")
    assert not await claimable(db)


async def test_leases_are_renewed_in_as_few_statements_as_they_may_be(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.leases.RENEWED_TOGETHER", 2)
    await add(db, *"tuvwx")
    held = [await take(db, seconds=OVER) for _ in range(5)]
    async with db.begin() as tx:
        with statements() as sent:
            assert await tx.leases.renew(held, LONG) == {*held}
    assert [statement.split()[0] for statement in sent] == ["SELECT", "UPDATE"] * 3  # two, two and one


async def test_the_rows_of_other_trainings_are_not_locked(postgres_url: str) -> None:
    db = Database(postgres_url)
    await add(db, "t", "u")
    renewed, other = [await take(db) for _ in range(2)]
    async with asyncio.timeout(20), db.begin() as tx:
        await tx.leases.renew([renewed], LONG)
        async with db.begin() as meanwhile:
            await meanwhile.leases.guard(other)
    await db.dispose()


async def test_a_row_that_is_held_keeps_no_other_lease_from_being_renewed(postgres_url: str) -> None:
    db = Database(postgres_url)
    await add(db, "t", "u")
    held = [await take(db, seconds=OVER) for _ in range(2)]
    async with db.begin() as slow:
        await slow.leases.guard(held[0])
        async with db.begin() as tx:
            assert await tx.leases.renew(held, LONG) == {held[1]}
    async with db.begin() as tx:
        assert await tx.leases.renew(held, LONG) == {*held}
    await db.dispose()
