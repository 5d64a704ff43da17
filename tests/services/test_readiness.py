"""Whether this process should get traffic."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from app.clock import SystemClock
from app.composition import build
from app.services.readiness import readiness
from app.services.system import System
from app.settings import Settings
from tests.links import link

Built = Callable[..., System]


@pytest.fixture
async def built(tmp_path: Path) -> AsyncIterator[Built]:
    made: list[System] = []

    def build_one(url: str, *, enabled: bool = True, tick_seconds: float = 0.2) -> System:
        coordinator = {"enabled": enabled, "tick_seconds": tick_seconds}
        database = {"url": url, "pool_size": 1, "statement_seconds": 1.0}
        made.append(build(Settings(data_dir=tmp_path, database=database, coordinator=coordinator), SystemClock(), None))
        return made[-1]

    yield build_one
    for system in made:
        await system.disconnect()


async def test_a_process_that_ticks_on_a_migrated_database_is_ready(built: Built, database_url: str) -> None:
    assert await readiness(built(database_url)) == {
        "database": "ok",
        "coordinator": "ok",
        "storage": "ok",
    }


async def test_missing_migrations_are_told(built: Built, blank_database_url: str) -> None:
    system = built(blank_database_url)
    assert (await readiness(system))["database"] == "migrations are missing: run `tcsfeel migrate`"


async def test_a_newer_version_may_have_migrated_the_database(built: Built, database_url: str) -> None:
    system = built(database_url)
    async with system.db.begin() as tx:
        await tx.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert (await readiness(system))["database"] == "ok"


async def test_a_schema_of_a_newer_version_on_which_this_one_cannot_work_is_told(
    built: Built, database_url: str
) -> None:
    system = built(database_url)
    async with system.db.begin() as tx:
        await tx.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        await tx.connection.execute(text("ALTER TABLE clients RENAME COLUMN bandwidth TO megabits"))
    async with asyncio.timeout(30):
        while (said := (await readiness(system))["database"]) == "does not answer":  # noqa: ASYNC110  (a slow machine)
            await asyncio.sleep(0.1)
    assert said == (
        "a newer version has migrated it, and it has clients.megabits, which needs a value; it lacks "
        "clients.bandwidth: start that version"
    )


@pytest.mark.parametrize(
    "change",
    [{"database": "nowhere"}, {"port": 1}, {"username": "stranger"}, {"host": "database.invalid"}],
    ids=["no-database", "no-server", "no-user", "no-host"],
)
async def test_a_database_that_cannot_be_had_is_told(
    built: Built, postgres_url: str, change: dict[str, str | int]
) -> None:
    url = make_url(postgres_url).set(**change)  # type: ignore[arg-type]  # names of its parts
    system = built(url.render_as_string(hide_password=False))
    assert (await readiness(system))["database"] == "does not answer"


async def test_a_file_that_is_no_database_is_told(built: Built, tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    system = built(f"sqlite+aiosqlite:///{tmp_path / 'broken.db'}")
    assert (await readiness(system))["database"] == "does not answer"
    assert (await readiness(built(f"sqlite+aiosqlite:///{tmp_path}/no/such/dir.db")))["database"] == "does not answer"


async def test_a_process_whose_connections_are_all_in_use_is_told_from_a_silent_database(
    built: Built, postgres_url: str
) -> None:
    async with link(postgres_url) as (way, url):
        system = built(url)
        async with system.db.begin() as tx:
            await tx.clients.ids()
            assert (await readiness(system))["database"].startswith("has no free connection")
        assert (await readiness(system))["database"] == "ok"
        way.fall_silent()
        assert (await readiness(system))["database"] == "does not answer"
        way.recover()
        assert (await readiness(system))["database"] == "ok"
        way.fall_silent()


async def test_probes_open_no_connections_of_their_own(built: Built, database_url: str) -> None:
    system = built(database_url)
    for _ in range(3):
        assert (await readiness(system))["database"] == "ok"
    assert system.db.connections() == (0, 1)


async def test_a_coordinator_that_the_database_refuses_says_so(built: Built, postgres_url: str) -> None:
    system = built(make_url(postgres_url).set(port=1).render_as_string(hide_password=False))
    running = asyncio.create_task(system.coordinator.run())
    async with asyncio.timeout(30):
        while system.coordinator.finding is None:  # noqa: ASYNC110  (nothing rings when a tick fails)
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    system.coordinator._last_tick -= 1000
    assert (await readiness(system))["coordinator"].endswith(" s: the database does not answer")


@pytest.mark.parametrize(
    ("tick_seconds", "age", "finding"),
    [
        (0.01, 2.0, "ok"),  # 50 ticks are half a second, and 3 s are always granted
        (0.01, 4.0, "has not ticked for 4."),
        (0.2, 9.0, "ok"),  # 50 ticks are 10 s
        (0.2, 11.0, "has not ticked for 11."),
    ],
)
async def test_a_coordinator_that_does_not_tick_is_told(
    built: Built, sqlite_url: str, tick_seconds: float, age: float, finding: str
) -> None:
    system = built(sqlite_url, tick_seconds=tick_seconds)
    system.coordinator._last_tick -= age
    assert (await readiness(system))["coordinator"].startswith(finding)


async def test_a_process_without_a_coordinator_owes_no_ticks(built: Built, sqlite_url: str) -> None:
    system = built(sqlite_url, enabled=False)
    system.coordinator._last_tick -= 1000
    assert (await readiness(system))["coordinator"] == "ok"
