"""Bring a database up to date and tell whether it is.

An upgrade is one transaction and has the database to itself, so that replicas may race and a crash leaves nothing half
done: an advisory lock sees to it on Postgres, the write lock on SQLite.
"""

import asyncio
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

import migrations
from app.store.database import Database

_LOCK = 7_261_904_403  # any number that nobody else uses


def config() -> Config:
    """Alembic's configuration for the one migration chain."""
    value = Config()
    value.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return value


@cache
def heads() -> frozenset[str]:
    """What the chain ends with. Its files are read once: that takes some 20 ms, and probes ask again and again."""
    return frozenset(ScriptDirectory.from_config(config()).get_heads())


async def upgrade(url: str) -> None:
    """Run every migration that the database at `url` lacks."""
    db = Database(url, pool_size=1, foreign_keys=False)
    try:
        async with db.begin() as tx:
            await tx.connection.run_sync(_upgrade)
    finally:
        await db.dispose()


async def is_current(url: str) -> bool:
    """Whether the database has exactly the migrations that this code knows."""
    wanted = await asyncio.to_thread(heads)
    db = Database(url, pool_size=1)
    try:
        async with db.read() as tx:
            return await tx.connection.run_sync(_current_heads) == wanted
    finally:
        await db.dispose()


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    value = config()
    value.attributes["connection"] = connection
    command.upgrade(value, "head")


def _current_heads(connection: Connection) -> frozenset[str]:
    return frozenset(MigrationContext.configure(connection).get_current_heads())
