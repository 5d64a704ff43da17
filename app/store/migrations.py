"""Bring a database up to date and tell whether it is.

An upgrade is one transaction with exclusive use of the database, by an advisory lock on Postgres and by the write lock
on SQLite. So several servers may start it at the same time, and a crash leaves nothing half done.

The migrations are found by the location of this file, never by the name `migrations`. Many projects use that name, and
the migrations of another project would run instead of ours and report success. For the same reason, an upgrade checks
the schema at its end.
"""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, column, false, inspect, select, table, text, update

from app.store.database import Database
from app.store.locks import Lock
from app.store.tables import metadata, trainings
from app.threads import in_thread

_INSTALLED = Path(__file__).resolve().parents[1] / "migrations"
CHAIN = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "migrations"  # in a checkout, beside `app`
# Alembic makes this table anew for each question, and SQLAlchemy keeps what it compiles for 500 different tables.
_APPLIED = table("alembic_version", column("version_num"))
STATEMENT_SECONDS = 3600.0  # a large table may have to be rewritten, or another server may be migrating


class WrongSchema(Exception):
    """The migrations cannot make the schema that this code needs. The message says what is wrong."""


def config() -> Config:
    """Make Alembic's configuration for the migrations."""
    value = Config()
    value.set_main_option("script_location", str(CHAIN).replace("%", "%%"))
    return value


@cache
def heads() -> frozenset[str]:
    """Return the last migrations. The files are read only once: that takes some 20 ms, and probes ask often."""
    return frozenset(ScriptDirectory.from_config(config()).get_heads())


async def upgrade(url: str) -> None:
    """Run every migration that the database at `url` lacks.

    Raises:
        WrongSchema: the schema is wrong after the migrations. The database is left unchanged. DatabaseUnavailable:
        there is no connection.
    """
    db = Database(url, pool_size=1, statement_seconds=STATEMENT_SECONDS, foreign_keys=False)
    try:
        async with db.begin() as tx:
            await tx.connection.run_sync(_upgrade)
    finally:
        await db.dispose()


async def is_current(db: Database) -> bool:
    """Tell whether the database has exactly the migrations that this code knows. Raises `DatabaseUnavailable`."""
    wanted = await in_thread("administration", heads)
    async with db.read() as tx:
        return await tx.connection.run_sync(_current_heads) == wanted


async def prove_writable(url: str) -> None:
    """Raise the database's error if it cannot be written to. A database that is not migrated yet passes."""
    db = Database(url, pool_size=1)
    try:
        async with db.begin() as tx:
            if await tx.connection.run_sync(lambda connection: inspect(connection).has_table(trainings.name)):
                await tx.connection.execute(update(trainings).where(false()).values(fence=trainings.c.fence))
    finally:
        await db.dispose()


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": Lock.MIGRATIONS.value})
    if _current_heads(connection) != heads():
        _run_all(connection)
    if lacking := _lacking(connection):
        raise WrongSchema(
            f"after the migrations in {CHAIN} the database lacks {', '.join(sorted(lacking))}: install this version of "
            "tcsfeel again, or restore the database from a backup"
        )


def _run_all(connection: Connection) -> None:
    """Run the migrations that the database lacks. Alembic reads all of them for that, even where none is to be run."""
    value = config()
    value.attributes["connection"] = connection
    try:
        command.upgrade(value, "head")
    except CommandError as error:
        raise WrongSchema(f"the database cannot be migrated with {CHAIN}: {error}") from error


def _lacking(connection: Connection) -> set[str]:
    """Return the columns that this code needs and that the database lacks."""
    found = inspect(connection)
    names = set(found.get_table_names())
    columns = {(table, c["name"]) for table in names & set(metadata.tables) for c in found.get_columns(table)}
    return {
        f"{c.table.name}.{c.name}" for t in metadata.tables.values() for c in t.c if (t.name, c.name) not in columns
    }


def _current_heads(connection: Connection) -> frozenset[str]:
    if not inspect(connection).has_table(_APPLIED.name):
        return frozenset()
    return frozenset(connection.execute(select(_APPLIED.c.version_num)).scalars())
