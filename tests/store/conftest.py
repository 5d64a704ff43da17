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
