"""Bring a database up to date and tell whether it is.

An upgrade is one transaction with exclusive use of the database, by an advisory lock on Postgres and by the write lock
on SQLite. So several servers may start it at the same time, and a crash leaves nothing half done.

A newer version may have migrated the database, since servers are upgraded one after the other. Then there is nothing
to do, if `app.store.compatibility` says that this version can work on such a schema.

The migrations are found by the location of this file, never by the name `migrations`. Many projects use that name, and
the migrations of another project would run instead of ours and report success. For the same reason, an upgrade checks
the schema at its end.
"""

import asyncio
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, column, false, inspect, select, table, text, update
from sqlalchemy.exc import DBAPIError

from app.store.compatibility import obstacles
from app.store.database import Database
from app.store.failures import state_of
from app.store.locks import Lock
from app.store.tables import metadata, trainings
from app.threads import in_thread

_INSTALLED = Path(__file__).resolve().parents[1] / "migrations"
CHAIN = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "migrations"  # in a checkout, beside `app`
# Alembic makes this table anew for each question, and SQLAlchemy keeps what it compiles for 500 different tables.
_APPLIED = table("alembic_version", column("version_num"))
STATEMENT_SECONDS = 3600.0  # a large table may have to be rewritten, or another server may be migrating
# A migration waits so long for a table that is in use: while it waits, everybody else has to wait for the table, too.
LOCK_MILLISECONDS = 2000
ATTEMPTS, PAUSE_SECONDS = 15, 2.0
_IN_THE_WAY = {"55P03", "40P01"}  # no lock in time, a deadlock
MISSING = "migrations are missing: run `tcsfeel migrate`"

log = structlog.get_logger(__name__)


class WrongSchema(Exception):
    """The migrations cannot make the schema that this code needs. The message says what is wrong."""


def config() -> Config:
    """Make Alembic's configuration for the migrations."""
    value = Config()
    value.set_main_option("script_location", str(CHAIN).replace("%", "%%"))
    return value


class Chain(NamedTuple):
    """The migrations that this code knows, and the last of them."""

    revisions: frozenset[str]
    heads: frozenset[str]


@cache
def chain() -> Chain:
    """Return the migrations. The files are read only once: that takes some 20 ms, and probes ask often."""
    script = ScriptDirectory.from_config(config())
    return Chain(frozenset(one.revision for one in script.walk_revisions()), frozenset(script.get_heads()))


def heads() -> frozenset[str]:
    """Return the last migrations."""
    return chain().heads


async def upgrade(url: str) -> None:
    """Run every migration that the database at `url` lacks. Servers may work on it meanwhile.

    Raises:
        WrongSchema: the schema is wrong after the migrations, or a table was in use for too long. The database is left
        unchanged. DatabaseUnavailable: there is no connection.
    """
    await change(url, _upgrade)


async def change(url: str, work: Callable[[Connection], None]) -> None:
    """Let `work` change the schema in one transaction.

    It is done again if a table is in use for long, or if the transactions of servers and this one wait for each other.

    Raises:
        WrongSchema: tables were in use each time. DatabaseUnavailable: there is no connection.
    """
    for _ in range(ATTEMPTS):
        if await _changed(url, work):
            return
        log.info("a table is in use: the migrations are tried again", again_in=PAUSE_SECONDS)
        await asyncio.sleep(PAUSE_SECONDS)
    raise WrongSchema(
        f"tables were in use each time that the migrations were tried ({ATTEMPTS} times): wait until backups and other "
        "long transactions have ended, and try again"
    )


async def is_current(db: Database) -> bool:
    """Tell whether the database has exactly the migrations that this code knows. Raises `DatabaseUnavailable`."""
    wanted = await in_thread("administration", heads)
    async with db.read() as tx:
        return await tx.connection.run_sync(_applied) == wanted


class SchemaCheck:
    """Tells whether this version can work on the schema of a database. It looks at each newer schema only once."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._newer: dict[frozenset[str], str | None] = {}

    async def obstacle(self) -> str | None:
        """Say why this version cannot work on the schema; None if it can. Raises `DatabaseUnavailable`."""
        known = await in_thread("administration", chain)
        async with self._db.read() as tx:
            applied = await tx.connection.run_sync(_applied)
            if applied == known.heads:
                return None
            if applied <= known.revisions:
                return MISSING
            if applied not in self._newer:
                self._newer[applied] = await tx.connection.run_sync(_in_newer)
        return self._newer[applied]


async def prove_writable(url: str) -> None:
    """Raise the database's error if it cannot be written to. A database that is not migrated yet passes."""
    db = Database(url, pool_size=1)
    try:
        async with db.begin() as tx:
            if await tx.connection.run_sync(lambda connection: inspect(connection).has_table(trainings.name)):
                await tx.connection.execute(update(trainings).where(false()).values(fence=trainings.c.fence))
    finally:
        await db.dispose()


async def _changed(url: str, work: Callable[[Connection], None]) -> bool:
    """Do `work` with exclusive use of the schema. False if a table is in use."""
    db = Database(url, pool_size=1, statement_seconds=STATEMENT_SECONDS, foreign_keys=False)
    try:
        async with db.begin() as tx:
            await tx.connection.run_sync(_alone)
            await tx.connection.run_sync(work)
    except DBAPIError as error:
        if state_of(error) not in _IN_THE_WAY:
            raise
        return False
    finally:
        await db.dispose()
    return True


def _alone(connection: Connection) -> None:
    """Wait until nobody else migrates; for tables, wait only a moment from then on."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": Lock.MIGRATIONS.value})
        connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}"))


def _upgrade(connection: Connection) -> None:
    if not (applied := _applied(connection)) <= chain().revisions:
        if (obstacle := _in_newer(connection)) is not None:
            raise WrongSchema(f"the database has the schema {', '.join(sorted(applied))}: {obstacle}")
        log.info("a newer version has migrated the database, and this one can work on it", schema=sorted(applied))
        return
    if applied != heads():
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


def _in_newer(connection: Connection) -> str | None:
    """Say what in the schema of a newer version keeps this one from working; None if nothing does."""
    found = obstacles(connection, metadata)
    return f"a newer version has migrated it, and it {'; it '.join(found)}: start that version" if found else None


def _applied(connection: Connection) -> frozenset[str]:
    if not inspect(connection).has_table(_APPLIED.name):
        return frozenset()
    return frozenset(connection.execute(select(_APPLIED.c.version_num)).scalars())
