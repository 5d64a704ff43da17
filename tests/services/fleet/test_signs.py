"""Heartbeats that say nothing new, which are written together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from app.domain.clients import Client
from app.domain.errors import NotFound
from app.services.fleet.clients import Clients
from app.services.fleet.signs import WRITTEN_TOGETHER, SignsOfLife
from app.settings import HealthSettings
from app.store.database import Database
from tests.clocks import FakeClock
from tests.planes import until
from tests.services.access.replicas import server
from tests.services.fakes import TOKENS, metrics
from tests.store.samples import NOW, client

INTERVAL = 30.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def clients(db: Database, clock: FakeClock) -> Clients:
    return Clients(db, clock, metrics(), HealthSettings(interval_seconds=INTERVAL), TOKENS, keys=server(db).keys)


async def add(db: Database, *names: str, **fields: Any) -> None:
    async with db.begin() as tx:
        await tx.clients.add([replace(client(name), **fields) for name in names])


async def beat(clients: Clients, name: str, instance: str | None = "i", bandwidth: float | None = None) -> None:
    await clients.heartbeat(name, bandwidth=bandwidth, latency=None, instance=instance)


async def stored(db: Database, name: str = "a") -> Client:
    async with db.read() as tx:
        return await tx.clients.get(name)


@asynccontextmanager
async def writes(db: Database) -> AsyncIterator[Callable[[], int]]:
    """Count the statements that change clients."""
    found: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE clients"):
            found.append(statement)

    engine = db._writers.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    yield lambda: len(found)
    event.remove(engine, "before_cursor_execute", count)


async def test_a_heartbeat_that_says_nothing_new_is_written_a_moment_later(
    db: Database, clients: Clients, clock: FakeClock
) -> None:
    await add(db, "a", "b", status="suspect")
    for name in "ab":
        await beat(clients, name)
    assert {(await stored(db, name)).status for name in "ab"} == {"healthy"}, "the first one is written at once"
    async with writes(db) as written:
        for _ in range(5):
            clock.advance(1.0)
            for name in "ab":
                await beat(clients, name)
        assert written() == 0
        assert (await stored(db)).last_seen_at == NOW
        await clients.signs.write()
        assert written() == 1
        assert {(await stored(db, name)).last_seen_at for name in "ab"} == {NOW + 5}
        await clients.signs.write()
        assert written() == 1, "nothing is left"


@pytest.mark.parametrize(
    ("said", "later"),
    [({"instance": "other"}, 1.0), ({"instance": None}, 1.0), ({"bandwidth": 5.0}, 1.0), ({}, INTERVAL)],
)
async def test_a_heartbeat_that_says_something_or_comes_late_is_written_at_once(
    db: Database, clients: Clients, clock: FakeClock, said: dict[str, Any], later: float
) -> None:
    await add(db, "a")
    await beat(clients, "a")
    clock.advance(later)
    await beat(clients, "a", **said)
    assert (await stored(db)).last_seen_at == NOW + later


async def test_a_client_that_others_made_unhealthy_is_written_at_once_by_its_next_heartbeat(
    db: Database, clients: Clients, clock: FakeClock
) -> None:
    await add(db, "a")
    await beat(clients, "a")
    async with db.begin() as tx:
        await tx.clients.put(replace(await stored(db), status="down", last_seen_at=NOW - 100))
    clock.advance(1.0)
    await beat(clients, "a")
    await clients.signs.write()
    assert ((await stored(db)).status, (await stored(db)).last_seen_at) == ("down", NOW - 100)
    await beat(clients, "a")
    assert ((await stored(db)).status, (await stored(db)).last_seen_at) == ("healthy", NOW + 1)


async def test_a_client_that_was_removed_is_unknown_at_once_here_and_a_moment_later_elsewhere(
    db: Database, clients: Clients, clock: FakeClock
) -> None:
    elsewhere = Clients(db, clock, metrics(), HealthSettings(interval_seconds=INTERVAL), TOKENS, keys=server(db).keys)
    await add(db, "a")
    for process in (clients, elsewhere):
        await beat(process, "a")
    await clients.remove("a")
    with pytest.raises(NotFound):
        await beat(clients, "a")
    await beat(elsewhere, "a")
    await elsewhere.signs.write()
    with pytest.raises(NotFound):
        await beat(elsewhere, "a")


async def test_two_devices_with_one_id_are_still_found_out(db: Database, clients: Clients, clock: FakeClock) -> None:
    await add(db, "a")
    for instance in ("one", "one", "two", "one"):
        clock.advance(1.0)
        await beat(clients, "a", instance)
    conflict = (await stored(db)).identity.conflict
    assert conflict is not None
    assert conflict.instances == ("one", "two")
    clock.advance(1.0)
    await beat(clients, "a", "one")
    assert (await stored(db)).last_seen_at == NOW + 5, "of a conflict each one is looked at"


async def test_a_sign_of_life_never_goes_back_in_time(db: Database, clients: Clients, clock: FakeClock) -> None:
    await add(db, "a")
    await beat(clients, "a")
    clock.advance(1.0)
    await beat(clients, "a")
    async with db.begin() as tx:
        await tx.clients.put(replace(await stored(db), last_seen_at=NOW + 9))
    await clients.signs.write()
    assert (await stored(db)).last_seen_at == NOW + 9


async def test_a_crowd_is_written_in_parts(sqlite_url: str, clock: FakeClock) -> None:
    db = Database(sqlite_url)
    clients = Clients(db, clock, metrics(), HealthSettings(interval_seconds=INTERVAL), TOKENS, keys=server(db).keys)
    names = [f"c{number:03}" for number in range(WRITTEN_TOGETHER + 1)]
    await add(db, *names)
    for name in names:
        clients.signs.remember(name, "i")
        assert clients.signs.note(name, "i")
    assert clients.signs.waiting == WRITTEN_TOGETHER + 1
    async with writes(db) as written:
        await clients.signs.write()
        assert written() == 2
    assert clients.signs.waiting == 0
    assert {(await stored(db, name)).last_seen_at for name in names} == {NOW}
    await db.dispose()


async def test_what_an_outage_kept_from_being_written_is_written_afterwards(sqlite_url: str, clock: FakeClock) -> None:
    db = Database(sqlite_url)
    clients = Clients(db, clock, metrics(), HealthSettings(interval_seconds=INTERVAL), TOKENS, keys=server(db).keys)
    await add(db, "a")
    await beat(clients, "a")
    clock.advance(2.0)
    await beat(clients, "a")
    async with db.begin() as tx:  # the only writer, so that nobody else gets a turn
        await tx.now()
        await clients.signs.close()
    assert (await stored(db)).last_seen_at == NOW
    await clients.signs.close()
    assert (await stored(db)).last_seen_at == NOW + 2
    await db.dispose()


async def test_a_client_that_is_forgotten_is_written_at_once_the_next_time(db: Database, clock: FakeClock) -> None:
    signs = SignsOfLife(db, clock, interval=INTERVAL)
    assert not signs.note("a", "i"), "nothing is known of it"
    for name in ("a", "b"):
        signs.remember(name, "i")
        assert signs.note(name, "i")
    signs.forget(["a"])
    assert (signs.note("a", "i"), signs.note("b", "i")) == (False, True)


async def test_the_loop_writes_what_was_noted_until_it_is_cancelled(db: Database, clock: FakeClock) -> None:
    await add(db, "a", status="healthy", last_seen_at=NOW)
    signs = SignsOfLife(db, clock, interval=0.04)  # it is written four times in an interval
    signs.remember("a", "i")
    clock.advance(0.01)
    assert signs.note("a", "i")
    looping = asyncio.create_task(signs.run())

    async def is_written() -> bool:
        return (await stored(db)).last_seen_at == clock.now()

    await until(is_written)
    assert not looping.done()
    looping.cancel()
    await asyncio.wait([looping])


async def test_heartbeats_that_come_while_others_are_written_wait_for_the_next_time(
    db: Database, clients: Clients, clock: FakeClock
) -> None:
    """A fleet whose heartbeats never paused had each of them written by itself, 95 transactions a second."""
    await add(db, "a", "b")
    for name in "ab":
        await beat(clients, name)
    clock.advance(1.0)
    await beat(clients, "a")
    engine = db._writers.sync_engine

    def another(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE clients"):
            clock.advance(1.0)
            assert clients.signs.note("b", "i")

    async with writes(db) as count:
        event.listen(engine, "before_cursor_execute", another)
        await clients.signs.write()
        event.remove(engine, "before_cursor_execute", another)
        assert count() == 1
        await clients.signs.write()
        assert count() == 2
    assert [(await stored(db, name)).last_seen_at for name in "ab"] == [NOW + 1, NOW + 2]
