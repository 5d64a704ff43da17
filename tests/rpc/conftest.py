"""The application on each kind of database, and gRPC over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.api import Api, running_api
from tests.rpc.callers import serving


@pytest.fixture
async def api(tmp_path: Path, database_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", database_url) as running:
        yield running


@pytest.fixture
async def channel(api: Api) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(api) as opened:
        yield opened
