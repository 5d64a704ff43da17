"""The REST API in the test's process: its application over ASGI, an authorised client, and what its tables hold."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI
from sqlalchemy import select

from app.main import create_app
from app.services.system import System
from app.services.tasks.responses import Transport
from app.store.tables import audit, metadata, request_rates
from app.traces import Traces
from tests.clocks import FakeClock, Sleeping
from tests.planes import settings

KEY = "an-admin-key-for-tests"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
PROBLEM = "application/problem+json"
NOW = "1970-01-12T13:46:40Z"  # what the clock of `running_api` says until it is moved


@dataclass(frozen=True)
class Api:
    """A running application. `http` carries the key, `anonymous` does not."""

    app: FastAPI
    system: System
    clock: FakeClock
    http: httpx2.AsyncClient
    anonymous: httpx2.AsyncClient

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
        """Every row of every table, and every file of the model store and the spool.

        The audit trail and the rates of requests are left out, because calls that are refused change them, too.
        """
        async with self.system.db.read() as tx:
            tables: dict[str, list[Any]] = {
                table.name: [
                    tuple(row) for row in await tx.connection.execute(select(table).order_by(*table.primary_key))
                ]
                for table in metadata.sorted_tables
                if table not in {audit, request_rates}
            }
        data_dir = self.system.settings.data_dir
        return tables | {
            "files": sorted(str(path) for place in ("models", "spool") for path in (data_dir / place).rglob("*"))
        }


@asynccontextmanager
async def running_api(
    data_dir: Path,
    database_url: str,
    *,
    agents: Transport | None = None,
    sleeping: Sleeping = Sleeping.SKIPS,
    traces: Traces | None = None,
    **overrides: Any,
) -> AsyncIterator[Api]:
    """An application whose lifespan has begun; `overrides` are settings."""
    given: dict[str, Any] = {"auth": {"admin_key": KEY}}
    clock = FakeClock(sleeping=sleeping)
    app = create_app(settings(data_dir, database_url, **(given | overrides)), clock=clock, agents=agents, traces=traces)
    async with app.router.lifespan_context(app), caller(app, headers=AUTHORIZED) as http, caller(app) as anonymous:
        yield Api(app, app.state.system, clock, http, anonymous)


def caller(app: FastAPI, *, address: str = "127.0.0.1", headers: Mapping[str, str] | None = None) -> httpx2.AsyncClient:
    """A client at an address, which gets an answer even where the application fails."""
    transport = httpx2.ASGITransport(app, client=(address, 50_000))
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", headers=headers)


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


def assert_problem(response: httpx2.Response, status: int, *pointers: str) -> dict[str, Any]:
    """The body of a refusal, which names exactly these fields."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert body.keys() - {"errors"} == {"type", "title", "status", "detail"}
    assert body["status"] == status
    assert body["type"].startswith("urn:tcsfeel:problem:")
    assert [error["pointer"] for error in body.get("errors", [])] == list(pointers), body
    assert all(error["detail"] for error in body.get("errors", []))
    return body
