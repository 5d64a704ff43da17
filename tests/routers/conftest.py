"""The application on each kind of database, and on SQLite alone where the database does not matter."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api import Api, running_api


@pytest.fixture
async def api(tmp_path: Path, database_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", database_url) as running:
        yield running


@pytest.fixture
async def sqlite_api(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", sqlite_url) as running:
        yield running
