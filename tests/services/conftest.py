"""A database that is open, and a place for what agents send."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.store.database import Database
from app.store.model_store import ModelStore


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    """SQLite alone, where the kind of database makes no difference."""
    database = Database(sqlite_url)
    yield database
    await database.dispose()


@pytest.fixture
def spool(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "spool", durable=False)
