"""Write transactions of the owner of a training."""

import asyncio

import pytest

from app.services.rounds.owned import OwnedTransactions
from app.store.database import Database
from app.store.leases import Fenced, Lease
from app.store.models import ModelVersion
from tests.store.samples import NOW, training


@pytest.fixture
async def lease(db: Database) -> Lease:
    async with db.begin() as tx:
        await tx.trainings.add(training(status="running"))
        claim = await tx.leases.claim("one", 600)
    assert claim is not None
    return claim.lease


async def test_an_owner_writes_as_long_as_it_has_the_lease(db: Database, lease: Lease) -> None:
    owned = OwnedTransactions(db)
    async with owned.begin(lease) as tx:
        await tx.trainings.put(training(status="running", updated_at=NOW + 1))
    async with db.begin() as tx:
        await tx.leases.revoke("t")
    with pytest.raises(Fenced):
        async with owned.begin(lease):
            pytest.fail("the transaction of an owner that lost its lease began")
    async with db.read() as tx:
        assert (await tx.trainings.get("t")).updated_at == NOW + 1


async def test_the_writes_of_one_training_wait_for_each_other_without_a_connection(db: Database, lease: Lease) -> None:
    owned, open_at_once, most = OwnedTransactions(db), 0, 0

    async def write() -> None:
        nonlocal open_at_once, most
        async with owned.begin(lease):
            open_at_once += 1
            most = max(most, open_at_once, db.connections()[0])
            await asyncio.sleep(0)
            open_at_once -= 1

    await asyncio.gather(*(write() for _ in range(20)))
    assert most == 1


async def test_an_owner_knows_its_training_as_it_was_committed(db: Database, lease: Lease) -> None:
    owned = OwnedTransactions(db)
    assert owned.known(lease).training is None

    async def fail() -> None:
        async with owned.begin(lease) as tx:
            await tx.trainings.put(training(status="running", updated_at=NOW + 1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert owned.known(lease).training is None
    async with owned.begin(lease) as tx:
        await tx.trainings.put(training(status="running", updated_at=NOW + 2, fence=lease.fence))
        assert (await tx.trainings.get("t")).updated_at == NOW + 2
    async with db.read() as tx:
        assert owned.known(lease).training == await tx.trainings.get("t")
    owned.known(lease).version = ModelVersion(
        training_id="t", round=1, sha256="1" * 64, parent=None, size=8, created_at=NOW
    )
    with pytest.raises(RuntimeError):
        await fail()
    assert owned.known(lease).training is None, "it may have been committed"
    assert owned.known(lease).version is None, "a newer one with the same parameters may have been stored"
