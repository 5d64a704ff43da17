"""A database that is open, a place for what agents send, and a dispatcher over both."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from app.metrics import Metrics
from app.store.database import Database
from app.store.model_store import ModelStore
from tests.services.bench import Benches, dispatching
from tests.services.fakes import metrics


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    """SQLite alone, where the kind of database makes no difference."""
    database = Database(sqlite_url)
    yield database
    await database.dispose()


@pytest.fixture
def spool(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "spool", durable=False)


@pytest.fixture
def counts() -> Metrics:
    return metrics()


@pytest.fixture
def bench(sqlite: Database, counts: Metrics, tmp_path: Path) -> Benches:
    return partial(dispatching, sqlite, counts, tmp_path / "spool")
