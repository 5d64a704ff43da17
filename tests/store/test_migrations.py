"""The chain of migrations, on both databases."""

import asyncio

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from app.store import migrations
from app.store.database import Database
from app.store.tables import metadata
from tests.store.newer import NEWER, add
from tests.store.samples import client
from tests.store.test_migrated_goals import to_revision


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def table_names(url: str) -> set[str]:
    db = Database(url)
    async with db.read() as tx:
        names = await tx.connection.run_sync(tables)
    await db.dispose()
    return names


async def is_current(url: str) -> bool:
    db = Database(url)
    try:
        return await migrations.is_current(db)
    finally:
        await db.dispose()


def downgrade(connection: Connection) -> None:
    value = migrations.config()
    value.attributes["connection"] = connection
    command.downgrade(value, "base")


async def test_a_blank_database_is_brought_up_to_date(blank_database_url: str) -> None:
    assert not await is_current(blank_database_url)
    await migrations.upgrade(blank_database_url)
    assert await is_current(blank_database_url)
    assert await table_names(blank_database_url) == {*metadata.tables, "alembic_version"}


async def test_upgrading_again_changes_nothing(blank_database_url: str) -> None:
    await migrations.upgrade(blank_database_url)
    db = Database(blank_database_url)
    async with db.begin() as tx:
        await tx.clients.add([client("a")])
    await migrations.upgrade(blank_database_url)
    async with db.read() as tx:
        assert await tx.clients.ids() == ["a"]
    await db.dispose()


async def test_no_migration_is_read_where_none_is_lacking(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await migrations.is_current(db)
    monkeypatch.delattr("app.store.migrations.command")
    await migrations.upgrade(database_url)
    assert await migrations.is_current(db)


async def test_replicas_may_upgrade_at_the_same_time(blank_database_url: str) -> None:
    await asyncio.gather(*(migrations.upgrade(blank_database_url) for _ in range(4)))
    assert await is_current(blank_database_url)


async def test_an_upgrade_that_fails_leaves_nothing_behind(blank_database_url: str) -> None:
    db = Database(blank_database_url)
    async with db.begin() as tx:
        await tx.connection.execute(text("CREATE TABLE participations (it INTEGER)"))  # in the last one's way
    with pytest.raises(Exception, match="already exists"):
        await migrations.upgrade(blank_database_url)
    await db.dispose()
    assert await table_names(blank_database_url) == {"participations"}


async def test_an_upgrade_that_does_not_lead_to_our_schema_fails(db: Database, database_url: str) -> None:
    async with db.begin() as tx:
        await tx.connection.execute(text("ALTER TABLE idempotency_keys RENAME TO foreign_keys"))
        await tx.connection.execute(text("ALTER TABLE events RENAME COLUMN data TO details"))
    with pytest.raises(migrations.WrongSchema, match=r"the database lacks events\.data, idempotency_keys\.\w+, "):
        await migrations.upgrade(database_url)


async def test_a_schema_to_which_a_newer_version_has_added_is_left_as_it_is(db: Database, database_url: str) -> None:
    await add(database_url)
    await migrations.upgrade(database_url)
    check = migrations.SchemaCheck(db)
    assert await check.obstacle() is None
    assert not await migrations.is_current(db)
    async with db.begin() as tx:
        await tx.clients.add([client("a")])
        found = (await tx.connection.execute(text("SELECT newer, version_num FROM clients, alembic_version"))).one()
    assert tuple(found) == (7, NEWER)


async def test_a_newer_schema_on_which_this_version_cannot_work_is_named(db: Database, database_url: str) -> None:
    await add(database_url, "ALTER TABLE events DROP COLUMN actor")
    with pytest.raises(migrations.WrongSchema, match=rf"schema {NEWER}: .* it lacks events\.actor: start that version"):
        await migrations.upgrade(database_url)
    assert "it lacks events.actor" in str(await migrations.SchemaCheck(db).obstacle())


async def test_migrations_wait_only_a_moment_for_a_table_that_is_in_use(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "ATTEMPTS", 2)
    monkeypatch.setattr(migrations, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(migrations, "LOCK_MILLISECONDS", 20)
    db = Database(postgres_url)
    async with db.begin() as tx:
        await tx.connection.run_sync(to_revision("0030", down=True))
    async with db.begin() as tx:
        await tx.connection.execute(text("LOCK participations IN ACCESS SHARE MODE"))
        with pytest.raises(migrations.WrongSchema, match=r"in use each time .* \(2 times\): wait until backups"):
            await migrations.upgrade(postgres_url)
    await migrations.upgrade(postgres_url)
    assert await migrations.is_current(db)
    await db.dispose()


async def test_the_way_down_and_up_again(blank_database_url: str) -> None:
    await migrations.upgrade(blank_database_url)
    db = Database(blank_database_url, foreign_keys=False)
    async with db.begin() as tx:
        await tx.connection.run_sync(downgrade)
    await db.dispose()
    assert await table_names(blank_database_url) == {"alembic_version"}
    assert not await is_current(blank_database_url)
    await migrations.upgrade(blank_database_url)
    assert await is_current(blank_database_url)


async def test_the_migrated_schema_is_that_of_the_tables(db: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with db.begin() as tx:
        assert await tx.connection.run_sync(differences) == []


async def test_a_migration_that_is_not_known_here_is_not_current(db: Database) -> None:
    async with db.begin() as tx:
        await tx.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not await migrations.is_current(db)


async def test_probes_do_not_read_the_chain_again(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    check = migrations.SchemaCheck(db)
    assert await check.obstacle() is None
    monkeypatch.delattr("app.store.migrations.ScriptDirectory")
    assert await check.obstacle() is None


async def test_probes_look_at_a_newer_schema_once(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(database_url)
    check = migrations.SchemaCheck(db)
    assert await check.obstacle() is None
    monkeypatch.delattr("app.store.migrations.obstacles")
    assert await check.obstacle() is None


async def test_probes_compile_no_statement_again(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sqlalchemy.engine")
    db = Database(database_url)  # its engine looks at the level when it is made
    try:
        check = migrations.SchemaCheck(db)
        for _ in range(3):
            assert await check.obstacle() is None
        caplog.clear()
        assert await check.obstacle() is None
    finally:
        await db.dispose()
    assert "cached since" in caplog.text
    assert "generated in" not in caplog.text
