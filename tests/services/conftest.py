"""A database that is open."""

from collections.abc import AsyncIterator

import pytest

from app.store.database import Database


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """SQLite and Postgres in turn."""
    database = Database(database_url)
    yield database
    await database.dispose()


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    """SQLite alone, where the kind of database makes no difference."""
    database = Database(sqlite_url)
    yield database
    await database.dispose()
