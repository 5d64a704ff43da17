"""Servers of two versions share a database during an upgrade: new migrations may only add, as CONTRIBUTING.md says."""

import json
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory
from sqlalchemy import BigInteger, Column, Connection, ForeignKey, Integer, MetaData, String, Table, Text

from app.store import migrations
from app.store.compatibility import RETIRED, obstacles
from app.store.database import Database
from app.store.tables import metadata
from tests.store.test_migrated_goals import to_revision

RELEASED = json.loads((Path(__file__).parent / "released.json").read_text())
BEFORE_THE_RULE = {  # and would be refused by it
    "0015": ["has participations.kind, which needs a value", "lacks rounds.evaluations"],
    "0028": ["has NULL in clients.url"],
}


def chain(after: str | None) -> list[Script]:
    """The migrations after one, oldest first; all of them after None."""
    found = list(ScriptDirectory.from_config(migrations.config()).walk_revisions())[::-1]
    names = [one.revision for one in found]
    return found[names.index(after) + 1 if after else 0 :]


async def refused(url: str, steps: list[Script], first: str | None) -> dict[str, list[str]]:
    """Run migrations one by one, and say what each does that a program of the schema before it cannot work with."""
    db = Database(url, foreign_keys=False)
    found = {}
    async with db.begin() as tx:
        if first is not None:
            await tx.connection.run_sync(to_revision(first))
        for step in steps:
            before = MetaData()
            await tx.connection.run_sync(before.reflect)
            await tx.connection.run_sync(to_revision(step.revision))
            found[step.revision] = await tx.connection.run_sync(obstacles, before)
    await db.dispose()
    return {revision: texts for revision, texts in found.items() if texts}


async def test_migrations_after_the_last_release_only_add(blank_database_url: str) -> None:
    steps = chain(RELEASED["schema"])
    found = await refused(blank_database_url, steps, RELEASED["schema"])
    contracting = {step.revision for step in steps if getattr(step.module, "CONTRACT", False)}
    assert found.keys() == contracting, (
        f"servers of the last release cannot work after these migrations: {found}. See CONTRIBUTING.md, a migration"
    )
    dropped = {text.removeprefix("lacks ") for texts in found.values() for text in texts}
    assert dropped <= set(RELEASED["retired"]), "the last release still reads or writes these"


async def test_the_rule_finds_what_migrations_of_before_have_changed(tmp_path: Path) -> None:
    found = await refused(f"sqlite+aiosqlite:///{tmp_path / 'all.db'}", chain(None), None)
    assert found == BEFORE_THE_RULE


def test_columns_are_retired_for_one_release_before_they_are_dropped() -> None:
    columns = [column for table in metadata.tables.values() for column in table.c]
    for column in columns:
        if column.info.get(RETIRED):
            assert column.nullable or column.server_default is not None, f"rows without {column} cannot be written"


KNOWN = MetaData()
Table("others", KNOWN, Column("id", Integer, primary_key=True))
Table(
    "parts",
    KNOWN,
    Column("id", Integer, primary_key=True),
    Column("thing", Integer, ForeignKey("things.id", ondelete="CASCADE", name="fk_parts")),
)
Table(
    "things",
    KNOWN,
    Column("id", Integer, primary_key=True),
    Column("name", String(16), nullable=False),
    Column("size", Integer),
    Column("other", Integer),
    Column("unused", Integer, info={RETIRED: "0.1"}),
)


def changed(connection: Connection, *changes: tuple[Any, ...]) -> list[str]:
    """Make the tables, change one of them, and say what is in the way of a program that knows them."""
    KNOWN.drop_all(connection)
    KNOWN.create_all(connection)
    operations = Operations(MigrationContext.configure(connection))
    with operations.batch_alter_table("things") as batch:
        for name, *given in changes:
            options = given.pop() if given and isinstance(given[-1], dict) else {}
            getattr(batch, name)(*given, **options)
    found = obstacles(connection, KNOWN)
    KNOWN.drop_all(connection)
    return found


HARMLESS: list[tuple[tuple[Any, ...], ...]] = [
    (("add_column", Column("more", Text)),),
    (("add_column", Column("more", Integer, nullable=False, server_default="3")),),
    (("create_index", "ix_more", ["size"]),),
    (("alter_column", "name", {"type_": String(64)}),),
    (("alter_column", "name", {"type_": Text()}),),
    (("alter_column", "size", {"type_": BigInteger()}),),
    (("drop_column", "unused"),),
]
IN_THE_WAY: list[tuple[tuple[Any, ...], str]] = [
    (("add_column", Column("more", Integer, nullable=False)), "has things.more, which needs a value"),
    (("drop_column", "size"), "lacks things.size"),
    (("alter_column", "name", {"nullable": True, "existing_type": String(16)}), "has NULL in things.name"),
    (("alter_column", "size", {"nullable": False, "existing_type": Integer()}), "refuses NULL in things.size"),
    (("alter_column", "name", {"type_": String(8)}), "has another type in things.name"),
    (("create_unique_constraint", "uq_more", ["name"]), "wants name of things unique"),
    (("create_index", "ix_more", ["size"], {"unique": True}), "wants size of things unique"),
    (("create_foreign_key", "fk_more", "others", ["other"], ["id"]), "ties things.other to other rows"),
]


def tied(connection: Connection, rule: str | None) -> list[str]:
    """Add tables whose rows belong to those of others, by this rule for deletions, and say what is in the way."""
    KNOWN.create_all(connection)
    newer = MetaData()
    newer.reflect(connection, only=["things"])
    Table("own", newer, Column("id", Integer, primary_key=True))
    Table("of_own", newer, Column("id", Integer, primary_key=True), Column("own", Integer, ForeignKey("own.id")))
    Table("newer", newer, Column("thing", Integer, ForeignKey("things.id", ondelete=rule), primary_key=True))
    newer.create_all(connection)
    found = obstacles(connection, KNOWN)
    for name in ("newer", "of_own", "own"):
        newer.tables[name].drop(connection)
    KNOWN.drop_all(connection)
    return found


def loosened(connection: Connection) -> list[str]:
    """Let rows stay when those go to which they belong, and say what is in the way."""
    KNOWN.create_all(connection)
    with Operations(MigrationContext.configure(connection)).batch_alter_table("parts") as batch:
        batch.drop_constraint("fk_parts", type_="foreignkey")
    found = obstacles(connection, KNOWN)
    KNOWN.drop_all(connection)
    return found


async def test_rows_that_an_older_program_deletes_may_go_with_all_that_belongs_to_them(blank_database_url: str) -> None:
    db = Database(blank_database_url, foreign_keys=False)
    async with db.begin() as tx:
        for rule, expected in (
            ("CASCADE", []),
            ("SET NULL", []),
            (None, ["has newer, which keeps rows of things from being deleted"]),
        ):
            assert await tx.connection.run_sync(tied, rule) == expected
        assert await tx.connection.run_sync(loosened) == ["does not delete rows of parts with those of things"]
    await db.dispose()


async def test_additions_are_in_nobodys_way(blank_database_url: str) -> None:
    db = Database(blank_database_url, foreign_keys=False)
    async with db.begin() as tx:
        for changes in HARMLESS:
            assert await tx.connection.run_sync(changed, *changes) == [], changes
    await db.dispose()


async def test_what_an_older_program_cannot_work_with_is_named(blank_database_url: str) -> None:
    db = Database(blank_database_url, foreign_keys=False)
    async with db.begin() as tx:
        for change, expected in IN_THE_WAY:
            assert await tx.connection.run_sync(changed, change) == [expected], change
    await db.dispose()
