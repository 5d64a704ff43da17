"""The REST API in the test's process: its application over ASGI, an authorised client, and what its tables hold."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import select

from app.main import create_app
from app.services.system import System
from app.settings import Settings
from app.store.tables import metadata
from tests.clocks import FakeClock
from tests.planes import settings

KEY = "an-admin-key-for-tests"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


@dataclass(frozen=True)
class Api:
    """A running application. `http` carries the key, `anonymous` does not."""

    app: FastAPI
    system: System
    clock: FakeClock
    http: httpx.AsyncClient
    anonymous: httpx.AsyncClient

    async def register(self, *ids: str, **fields: Any) -> None:
        """Clients by name, with `fields` in place of the usual profile."""
        clients = [profile(id=client_id, **fields) for client_id in ids]
        response = await self.http.post("/v1/clients/batch", json={"clients": clients})
        assert response.status_code == 201, response.text

    async def create_training(self, **fields: Any) -> str:
        response = await self.http.post("/v1/trainings", json={"name": "digits"} | fields)
        assert response.status_code == 201, response.text
        training_id: str = response.json()["id"]
        return training_id

    async def stored(self) -> dict[str, list[Any]]:
        """Every row of every table, and the names of the files in the model store."""
        async with self.system.db.read() as tx:
            tables: dict[str, list[Any]] = {
                table.name: [
                    tuple(row) for row in await tx.connection.execute(select(table).order_by(*table.primary_key))
                ]
                for table in metadata.sorted_tables
            }
        models = self.system.settings.model_directory
        return tables | {"files": sorted(path.name for path in models.iterdir()) if models.is_dir() else []}


@asynccontextmanager
async def running_api(
    data_dir: Path, database_url: str, *, agents: httpx.AsyncBaseTransport | None = None, **overrides: Any
) -> AsyncIterator[Api]:
    """An application whose lifespan has begun; `overrides` are settings."""
    given: dict[str, Any] = {"auth": {"admin_key": KEY}}
    configured: Settings = settings(data_dir, database_url, **(given | overrides))
    clock = FakeClock()
    app = create_app(configured, clock=clock, agents=agents)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=AUTHORIZED)
    anonymous = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
    async with app.router.lifespan_context(app), http, anonymous:
        yield Api(app, app.state.system, clock, http, anonymous)


def profile(**fields: Any) -> dict[str, Any]:
    """A client's registration."""
    given: dict[str, Any] = {
        "url": "http://10.0.0.7:9000",
        "data_size": 100,
        "compute_capacity": 5.0,
        "bandwidth": 40.0,
        "latency": 25.0,
    }
    return given | fields


def without(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}
