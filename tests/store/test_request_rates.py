"""Rates that servers share, on both databases."""

from sqlalchemy import select, update

from app.store.database import Database
from app.store.request_rates import FRESH_SECONDS
from app.store.tables import request_rates


async def publish(db: Database, server: str, **rates: float) -> None:
    async with db.begin() as tx:
        await tx.request_rates.publish(server, rates)


async def elsewhere(db: Database, server: str, *callers: str) -> dict[str, float]:
    async with db.read() as tx:
        return await tx.request_rates.elsewhere(server, callers)


async def age(db: Database, server: str, seconds: float) -> None:
    async with db.begin() as tx:
        then = await tx.now() - seconds
        ours = request_rates.c.server == server
        await tx.connection.execute(update(request_rates).where(ours).values(measured_at=then))


async def test_a_server_reads_the_sums_of_the_others(db: Database) -> None:
    await publish(db, "one", a=10.0, b=1.0)
    await publish(db, "two", a=20.0)
    await publish(db, "three", a=5.5, c=7.0)
    assert await elsewhere(db, "three", "a", "b", "d") == {"a": 30.0, "b": 1.0}
    assert await elsewhere(db, "one", "a", "b") == {"a": 25.5}
    assert await elsewhere(db, "one") == {}


async def test_a_server_replaces_only_its_own_rates(db: Database) -> None:
    await publish(db, "one", a=10.0)
    await publish(db, "two", a=20.0)
    await publish(db, "one", b=3.0)
    assert await elsewhere(db, "three", "a", "b") == {"a": 20.0, "b": 3.0}
    await publish(db, "one")
    assert await elsewhere(db, "three", "a", "b") == {"a": 20.0}


async def test_a_server_that_writes_nothing_any_more_does_not_count_and_is_forgotten(db: Database) -> None:
    await publish(db, "one", a=10.0)
    await age(db, "one", FRESH_SECONDS + 1)
    assert await elsewhere(db, "two", "a") == {}
    await age(db, "one", 61)
    await publish(db, "two", b=1.0)
    async with db.read() as tx:
        assert list((await tx.connection.execute(select(request_rates.c.server))).scalars()) == ["two"]
