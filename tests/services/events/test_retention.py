"""Old events go, in portions; without a setting all of them stay."""

import asyncio

import pytest
from sqlalchemy import insert, select

from app.services.events.retention import EventRetention
from app.settings import EventSettings
from app.store import portions
from app.store.database import Database
from app.store.portions import PORTION
from app.store.tables import events

DAY = 86_400.0


async def filled(db: Database, *days_ago: float) -> None:
    async with db.begin() as tx:
        now = await tx.now()
        rows = [{"at": now - days * DAY, "type": "client.removed", "data": {}} for days in days_ago]
        await tx.connection.execute(insert(events), rows)


async def left(db: Database) -> list[int]:
    async with db.read() as tx:
        return list((await tx.connection.execute(select(events.c.id).order_by(events.c.id))).scalars())


@pytest.mark.parametrize("settings", [EventSettings(), EventSettings(keep_days=100), EventSettings(keep_last=1000)])
async def test_what_is_kept_stays(db: Database, settings: EventSettings) -> None:
    await filled(db, 99, 3, 2, 1)
    await EventRetention(db, settings).tick()
    assert await left(db) == [1, 2, 3, 4]


async def test_events_go_by_their_age_and_the_newest_stays(db: Database) -> None:
    await filled(db, 9, 5, 3.1, 2.9, 1)
    await EventRetention(db, EventSettings(keep_days=3)).tick()
    assert await left(db) == [4, 5]
    await EventRetention(db, EventSettings(keep_days=1)).tick()
    assert await left(db) == [5]


async def test_an_empty_log_stays_empty(db: Database) -> None:
    await EventRetention(db, EventSettings(keep_days=1, keep_last=1000)).tick()
    assert await left(db) == []


async def test_events_go_by_their_number_in_portions(db: Database) -> None:
    count = 1000 + 2 * PORTION + 3
    await filled(db, *[0.0] * count)
    await EventRetention(db, EventSettings(keep_last=1000, keep_days=5)).tick()
    assert await left(db) == list(range(count - 999, count + 1))


async def test_a_tick_ends_after_some_portions_and_the_next_one_goes_on(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "PORTIONS", 2)
    monkeypatch.setattr(portions, "PORTION", 10)
    await filled(sqlite, *[9.0] * 35)
    ours = EventRetention(sqlite, EventSettings(keep_days=1))
    sizes = []
    for _ in range(3):
        await ours.tick()
        sizes.append(len(await left(sqlite)))
    assert sizes == [15, 1, 1]


async def test_servers_that_remove_at_the_same_time_are_not_in_each_others_way(database_url: str) -> None:
    servers = [Database(database_url) for _ in range(3)]
    await filled(servers[0], *[9.0] * 2000, 0.0)
    settings = EventSettings(keep_days=1)
    async with asyncio.timeout(60):
        await asyncio.gather(*(EventRetention(db, settings).tick() for db in servers))
    assert await left(servers[0]) == [2001]
    for db in servers:
        await db.dispose()
