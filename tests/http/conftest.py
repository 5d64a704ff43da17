"""The application on SQLite: what HTTP needs around the routes does not depend on the database."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api, running_api


@pytest.fixture
async def api(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", sqlite_url) as running:
        yield running


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    """The OpenAPI document."""
    return api.app.openapi()
