"""Bring a database up to date and tell whether it is; on Postgres under an advisory lock, so that replicas may race."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import migrations

_LOCK = 7_261_904_403  # any number that nobody else uses


def config() -> Config:
    """Alembic's configuration for the one migration chain."""
    value = Config()
    value.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return value


async def upgrade(url: str) -> None:
    """Run every migration that the database at `url` lacks."""
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


async def is_current(url: str) -> bool:
    """Whether the database has exactly the migrations that this code knows."""
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_is_current)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    value = config()
    value.attributes["connection"] = connection
    command.upgrade(value, "head")


def _is_current(connection: Connection) -> bool:
    heads = set(ScriptDirectory.from_config(config()).get_heads())
    return set(MigrationContext.configure(connection).get_current_heads()) == heads
