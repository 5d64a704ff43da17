"""``INSERT … ON CONFLICT DO NOTHING``, which SQLAlchemy spells differently for each database."""

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def insert_missing(connection: AsyncConnection, table: Table) -> Any:
    """Make an insert that skips rows whose key exists. If two transactions race, the loser waits for the winner."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()
