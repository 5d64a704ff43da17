"""Old idempotency keys are removed, and younger ones stay.

Covers: app.services.trainings.idempotency
"""

import pytest
from sqlalchemy import select

from app.services.trainings.idempotency import IdempotentRequest, KeyRetention
from app.store import portions
from app.store.database import Database
from app.store.tables import idempotency_keys
from tests.clocks import FakeClock

HOUR = 3600.0


async def used(db: Database, key: str, at: float, scope: str = "POST /v1/trainings") -> str | None:
    async with db.begin() as tx:
        return await IdempotentRequest(scope, key, "a" * 64).claim(tx, f"made-{at:g}", at)


async def kept(db: Database) -> list[str]:
    async with db.read() as tx:
        query = select(idempotency_keys.c.key).order_by(idempotency_keys.c.created_at, idempotency_keys.c.key)
        return list((await tx.connection.execute(query)).scalars())


async def test_a_key_is_removed_after_its_time_and_can_be_used_again(db: Database) -> None:
    clock = FakeClock(10 * HOUR)
    retention = KeyRetention(db, clock, hours=2)
    for key, at in (("old", 7.9), ("young", 8.1), ("new", 10)):
        assert await used(db, key, at * HOUR) is None
    await retention.tick()
    assert await kept(db) == ["young", "new"]
    assert await used(db, "young", clock.now()) == f"made-{8.1 * HOUR:g}"
    assert await used(db, "old", clock.now()) is None


async def test_the_same_key_of_another_path_stays(db: Database) -> None:
    await used(db, "k", 0.0, scope="POST /v1/trainings/a/rounds")
    await used(db, "k", 5 * HOUR, scope="POST /v1/trainings/b/rounds")
    await KeyRetention(db, FakeClock(5 * HOUR), hours=1).tick()
    assert await kept(db) == ["k"]
    assert await used(db, "k", 5 * HOUR, scope="POST /v1/trainings/b/rounds") == f"made-{5 * HOUR:g}"


async def test_keys_are_removed_in_portions(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "PORTION", 2)
    monkeypatch.setattr(portions, "PORTIONS", 2)
    for number in range(5):
        await used(sqlite, str(number), float(number))
    retention = KeyRetention(sqlite, FakeClock(10 * HOUR), hours=1)
    await retention.tick()
    assert await kept(sqlite) == ["4"]
    await retention.tick()
    assert await kept(sqlite) == []
