"""Which calls the audit trail records beside changes: those that are wrong, on any path, and refused connections."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.http.auditing import OPEN, OTHER_PATH, refused_connection
from tests.api import Api, caller, running_api


@pytest.fixture
async def api(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Api]:
    limits = {"address_requests_per_second": 1}
    options: Any = {"coordinator": {"enabled": False}, "limits": limits}
    async with running_api(tmp_path / "data", sqlite_url, **options) as running:
        yield running


async def records(api: Api) -> list[tuple[str, str, str, int]]:
    """Return the actor, the address, the operation and the status of each record of a call."""
    page = (await api.http.get("/v1/audit", params={"limit": 1000})).json()["items"]
    names = ("actor", "address", "operation", "status")
    return [tuple(record[name] for name in names) for record in page if record["role"] != "server"]


async def test_heartbeats_and_reads_are_recorded_only_if_they_are_refused(api: Api) -> None:
    await api.register("edge-7")
    for _ in range(3):
        assert (await api.http.post("/v1/clients/edge-7/heartbeat")).status_code == 204
    assert (await api.http.post("/v1/clients/edge-8/heartbeat")).status_code == 404
    assert (await api.http.get("/v1/clients")).status_code == 200
    assert (await api.http.get("/v1/clients/edge-8")).status_code == 404
    few = {"min_clients": 1, "max_clients": 1}
    assert (await api.http.post("/v1/selections", json=few)).status_code == 200
    assert (await api.anonymous.post("/v1/clients/edge-7/heartbeat")).status_code == 401
    assert [(operation, status) for _, _, operation, status in await records(api)] == [
        ("POST /v1/clients/batch", 201),
        ("POST /v1/clients/{client_id}/heartbeat", 401),
    ]


async def test_a_wrong_read_is_recorded_and_one_that_finds_nothing_is_not(api: Api) -> None:
    for path in ("/v1/clients?cursor=x", "/v1/clients?odd=1", "/v1/clients/nobody", "/v1/trainings/0123456789abcdef"):
        await api.http.get(path)
    assert await records(api) == [("admin key", "127.0.0.1", "GET /v1/clients", 422)]


async def test_paths_that_do_not_exist_are_recorded_as_one_kind_and_good_calls_without_a_key_are_not(api: Api) -> None:
    async with caller(api.app, address="10.0.0.9") as http:
        assert [(await http.get(f"/invented-{number}")).status_code for number in range(3)] == [404] * 3
        assert (await http.delete("/healthz")).status_code == 405
        assert (await http.put("/v1/nothing/of/this")).status_code == 404
    async with caller(api.app, address="10.0.0.8") as http:
        assert (await http.get("/healthz")).status_code == 200
    nobody = ("unknown caller", "10.0.0.9")
    assert await records(api) == [(*nobody, OTHER_PATH, 404), (*nobody, "/healthz", 405)]


async def test_a_flood_of_calls_that_need_no_key_is_recorded(api: Api) -> None:
    async with caller(api.app, address="10.0.0.9") as http:
        assert 429 in [(await http.get("/healthz")).status_code for _ in range(30)]
    assert await records(api) == [("unknown caller", "10.0.0.9", "/healthz", 429)]


async def test_a_refused_connection_is_recorded_with_its_address(api: Api) -> None:
    for _ in range(3):
        refused_connection(api.system.audit, "10.0.0.9", 431)
    assert await records(api) == [("unknown caller", "10.0.0.9", "connection", 431)]


async def test_the_paths_that_need_no_key_are_known(api: Api) -> None:
    for path in OPEN:
        assert (await api.http.get(path)).status_code in {200, 307, 429}, path
