"""Heartbeats and breakers over HTTP."""

from dataclasses import replace

import pytest

from app.domain.breaker import Breaker, Failure
from tests.api import NOW, Api


async def test_a_heartbeat_is_a_sign_of_life_with_measurements(api: Api) -> None:
    await api.register("edge-7")
    async with api.system.db.begin() as tx:
        await tx.clients.put(replace(await tx.clients.get("edge-7"), status="down"))
    response = await api.http.post("/v1/clients/edge-7/heartbeat", json={"bandwidth": 10.0, "latency": 5.0})
    assert (response.status_code, response.content) == (204, b"")
    client = (await api.http.get("/v1/clients/edge-7")).json()
    assert (client["status"], client["last_seen_at"]) == ("healthy", NOW)
    assert (client["measured"]["bandwidth"], client["measured"]["latency"]) == (10.0, 5.0)
    await api.http.post("/v1/clients/edge-7/heartbeat", json={"bandwidth": 20.0})
    measured = (await api.http.get("/v1/clients/edge-7")).json()["measured"]
    assert measured["bandwidth"] == pytest.approx(10 + 0.3 * (20 - 10))
    assert measured["latency"] == 5.0


@pytest.mark.parametrize("body", [b"", b"{}", b"null"])
async def test_a_heartbeat_needs_nothing_to_say(sqlite_api: Api, body: bytes) -> None:
    await sqlite_api.register("edge-7")
    headers = {"Content-Type": "application/json"} if body else {}
    response = await sqlite_api.http.post("/v1/clients/edge-7/heartbeat", content=body, headers=headers)
    assert response.status_code == 204
    assert (await sqlite_api.http.get("/v1/clients/edge-7")).json()["last_seen_at"] == NOW


async def test_a_breaker_is_opened_and_reset_by_hand(api: Api) -> None:
    await api.register("edge-7")
    closed = {
        "state": "closed",
        "consecutive_failures": 0,
        "openings": 0,
        "opened_at": None,
        "retry_at": None,
        "probe_until": None,
        "last_failure_at": None,
        "last_failures": [],
    }
    assert (await api.http.get("/v1/clients/edge-7/breaker")).json() == closed
    opened = await api.http.post("/v1/clients/edge-7/breaker/open")
    assert opened.status_code == 200
    assert opened.json() == closed | {"state": "open", "opened_at": NOW}
    assert (await api.http.get("/v1/clients/edge-7")).json()["breaker"] == "open"
    reset = await api.http.post("/v1/clients/edge-7/breaker/reset")
    assert (reset.status_code, reset.json()) == (200, closed)
    assert (await api.http.get("/v1/clients/edge-7/breaker")).json() == closed


async def test_a_breaker_names_its_last_failures(api: Api) -> None:
    await api.register("edge-7")
    failures = (
        Failure(phase="evaluate", training_id="t", round=3, reason="answered 500: out of memory", at=api.clock.now()),
        Failure(phase="initial model", reason="did not answer in time", at=api.clock.now()),
    )
    async with api.system.db.begin() as tx:
        client = await tx.clients.get("edge-7")
        await tx.clients.put(replace(client, breaker=Breaker(last_failures=failures)))
    told = {"at": NOW, "phase": "evaluate", "training_id": "t", "round": 3, "reason": "answered 500: out of memory"}
    assert (await api.http.get("/v1/clients/edge-7/breaker")).json()["last_failures"] == [
        told,
        {"at": NOW, "phase": "initial model", "training_id": None, "round": None, "reason": "did not answer in time"},
    ]
