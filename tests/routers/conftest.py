"""The application on each kind of database, and on SQLite alone where the database does not matter; a training."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api import Api, running_api
from tests.routers.samples import MODEL


@pytest.fixture
async def api(tmp_path: Path, database_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", database_url) as running:
        yield running


@pytest.fixture
async def sqlite_api(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", sqlite_url) as running:
        yield running


@pytest.fixture
async def training(sqlite_api: Api) -> str:
    """A training that has its initial parameters."""
    training_id = await sqlite_api.create_training()
    assert (await sqlite_api.http.put(f"/v1/trainings/{training_id}/model", content=MODEL)).status_code == 200
    return training_id
