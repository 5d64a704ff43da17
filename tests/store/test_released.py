"""Rows of each schema that was released are brought up to date: nothing of them is lost, and all can be read."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Connection, MetaData, func, insert, select

from app.store import migrations
from app.store.backups import Backup
from app.store.database import Database
from app.store.selections import unpacked
from app.store.tables import metadata, selections
from tests.store.test_migrated_goals import to_revision

RELEASED = sorted((Path(__file__).parent / "released").iterdir())


def fill(connection: Connection, backup: Backup) -> MetaData:
    """Write the rows of a backup into the tables of its own schema, and return these."""
    before = MetaData()
    before.reflect(connection)
    for column in (column for table in before.sorted_tables for column in table.c if isinstance(column.type, JSON)):
        column.type = JSON(none_as_null=True)  # as in our own tables
    for table in before.sorted_tables:
        if table.name != "alembic_version" and (rows := list(backup.rows(table))):
            connection.execute(insert(table), rows)
    return before


def rows(connection: Connection, tables: MetaData) -> dict[str, list[Any]]:
    """All rows of tables, with the columns that they have had."""
    return {
        table.name: sorted(map(repr, connection.execute(select(table))))
        for table in tables.sorted_tables
        if table.name != "alembic_version"
    }


@pytest.mark.parametrize("released", RELEASED, ids=lambda place: place.name)
async def test_a_release_is_brought_up_to_date_with_its_rows(released: Path, blank_database_url: str) -> None:
    db = Database(blank_database_url, foreign_keys=False)
    async with db.begin() as tx:
        await tx.connection.run_sync(to_revision(released.name))
        before = await tx.connection.run_sync(fill, Backup(released))
        written = await tx.connection.run_sync(rows, before)
    assert sum(map(len, written.values())) > 50
    await migrations.upgrade(blank_database_url)
    async with db.read() as tx:
        assert await tx.connection.run_sync(rows, before) == written
        for training in (await tx.trainings.page(limit=100, after=None)).items:
            found = (await tx.rounds.page(training.id, limit=100, before=None)).items
            assert training.current_round == len(found) > 1
            assert {part.status for one in found for part in one.parts} >= {"received"}
        assert [one.id for one in await tx.clients.all()] == ["edge-0", "edge-1", "edge-2"]
        for (document,) in await tx.connection.execute(select(selections.c.document)):
            assert unpacked(document).selected
        counted = await tx.connection.execute(select(func.count()).select_from(metadata.tables["webhooks"]))
        assert counted.scalar_one() == 1
    await db.dispose()
