"""How long leases are kept, and what it costs to hold many: the keepers of all trainings look together."""

import asyncio
from pathlib import Path

from sqlalchemy import event

from app.domain.trainings import SelectionConfig
from app.services.running.keepers import LeaseKeeper
from app.settings import CoordinatorSettings
from app.store.database import Database
from tests.planes import Adder, plane, until
from tests.store.samples import training

TRAININGS = 20


async def test_the_leases_of_all_trainings_are_looked_at_in_one_query(database_url: str, tmp_path: Path) -> None:
    trainer = Adder()
    trainer.open.clear()
    one = SelectionConfig(strategy="random", min_clients=1, max_clients=1)
    trainers = {f"c{number:02}": trainer for number in range(TRAININGS)}
    asked: list[int] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if "trainings.fence" in statement and " IN (" in statement and statement.lstrip().startswith("SELECT"):
            asked.append(len(parameters))  # type: ignore[arg-type]  # one for each training

    coordinator = {"enabled": False, "tick_seconds": 0.2, "lease_seconds": 600}
    async with plane(tmp_path, database_url, trainers, coordinator=coordinator) as running:
        for _ in range(TRAININGS):
            await running.system.trainings.start(await running.create(selection=one, max_rounds=1))
        await running.drive()
        coordinator_db = running.system.coordinator._db
        event.listen(coordinator_db._readers.sync_engine, "before_cursor_execute", note)

        async def many_are_looked_at_together() -> bool:
            return max(asked, default=0) > TRAININGS // 2

        await until(many_are_looked_at_together)


async def test_a_lease_is_kept_until_another_server_has_it(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training(status="running"))
        claim = await tx.leases.claim("one", 600)
    assert claim is not None
    keeper = LeaseKeeper(db, CoordinatorSettings(tick_seconds=0.01, lease_seconds=600))
    async with asyncio.timeout(60):
        kept = asyncio.create_task(keeper.keep(claim.lease))
        for _ in range(3):
            await asyncio.sleep(0.01)
        assert not kept.done()
        async with db.begin() as tx:
            assert await tx.leases.revoke("t")
        await kept


async def test_a_lease_that_was_lost_does_not_end_the_keeping_of_another(db: Database) -> None:
    async with db.begin() as tx:
        for name in ("t", "u"):
            await tx.trainings.add(training(name, status="running"))
        claims = [await tx.leases.claim("one", 600) for _ in range(2)]
    leases = {claim.lease.training_id: claim.lease for claim in claims if claim is not None}
    keeper = LeaseKeeper(db, CoordinatorSettings(tick_seconds=0.01, lease_seconds=600))
    async with asyncio.timeout(60):
        lost, kept = (asyncio.create_task(keeper.keep(leases[name])) for name in ("t", "u"))
        async with db.begin() as tx:
            await tx.leases.revoke("t")
        await lost
        assert not kept.done()
        kept.cancel()
        await asyncio.wait([kept])
