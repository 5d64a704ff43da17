"""A process's clock follows the database's, whose time all processes share."""

import asyncio

import pytest
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from app.clock import SystemClock
from app.services.running.timekeeping import Timekeeper
from app.store.database import Database
from tests.planes import until

HOUR = 3600.0


@pytest.fixture
def clock() -> SystemClock:
    """A clock that is an hour fast."""
    fast = SystemClock()
    fast.adopt(fast.now() + HOUR)
    return fast


async def seconds_ahead(db: Database, clock: SystemClock) -> float:
    async with db.read() as tx:
        return clock.now() - await tx.now()


async def test_a_tick_takes_the_databases_time_over(db: Database, clock: SystemClock) -> None:
    assert await seconds_ahead(db, clock) == pytest.approx(HOUR, abs=60)
    await Timekeeper(db, clock).tick()
    assert await seconds_ahead(db, clock) == pytest.approx(0, abs=60)


async def test_the_loop_ticks_at_once_and_goes_on_until_it_is_cancelled(db: Database, clock: SystemClock) -> None:
    looping = asyncio.create_task(Timekeeper(db, clock).run())

    async def agrees() -> bool:
        return abs(await seconds_ahead(db, clock)) < HOUR / 2

    await until(agrees)
    assert not looping.done()
    looping.cancel()
    await asyncio.wait([looping])
    assert looping.cancelled()


async def test_a_process_begins_with_the_databases_time(db: Database, clock: SystemClock) -> None:
    await Timekeeper(db, clock).begin()
    assert await seconds_ahead(db, clock) == pytest.approx(0, abs=60)


async def test_a_process_begins_with_its_own_time_where_the_database_is_away(
    postgres_url: str, clock: SystemClock
) -> None:
    away = Database(make_url(postgres_url).set(port=1).render_as_string(hide_password=False))
    before = clock.now()
    with capture_logs() as logs:
        await Timekeeper(away, clock).begin()
    await away.dispose()
    assert [line["event"] for line in logs] == ["the database does not answer"]
    assert clock.now() - before < HOUR / 2, "nothing has set it"
