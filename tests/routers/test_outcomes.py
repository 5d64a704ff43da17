"""Outcomes that outside coordinators report over HTTP, and the filters by which they choose whom to call."""

from dataclasses import replace

import pytest

from app.domain.breaker import Breaker
from tests.api import NOW, Api, assert_problem


async def listed(api: Api, query: str) -> list[str]:
    response = await api.http.get(f"/v1/clients?{query}")
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["items"]]


async def test_clients_are_filtered_by_health_and_by_breaker(api: Api) -> None:
    await api.register("a", "b", "c", "d")
    async with api.system.db.begin() as tx:
        a, b, c = [await tx.clients.get(name) for name in "abc"]
        await tx.clients.put(
            replace(a, status="suspect"),
            replace(b, breaker=Breaker().isolate(1.0)),
            replace(c, status="down", breaker=Breaker(state="half_open")),
        )
    assert await listed(api, "healthy=true&breaker=closed") == ["d"]
    assert await listed(api, "healthy=true") == ["b", "d"]
    assert await listed(api, "healthy=false") == ["a", "c"]
    assert await listed(api, "breaker=closed") == ["a", "d"]
    assert await listed(api, "breaker=open") == ["b"]
    assert await listed(api, "breaker=half_open&status=down") == ["c"]
    assert await listed(api, "healthy=true&status=down") == []
    page = (await api.http.get("/v1/clients?healthy=true&limit=1")).json()
    assert await listed(api, f"healthy=true&cursor={page['next_cursor']}") == ["d"]


async def test_a_report_answers_with_what_is_known_of_the_client(api: Api) -> None:
    await api.register("edge-7", reliability=0.9)
    body = {"success": True, "seconds": 41.5, "update_quality": 0.8}
    response = await api.http.post("/v1/clients/edge-7/outcomes", json=body)
    assert response.status_code == 200
    found = response.json()
    assert (found["client_id"], found["status"], found["breaker"]["state"]) == ("edge-7", "healthy", "closed")
    assert found["measured"]["reliability"] == pytest.approx(0.9 + 0.3 * 0.1)
    assert (found["measured"]["train_seconds"], found["measured"]["last_update_quality"]) == (41.5, 0.8)
    assert (await api.http.get("/v1/clients/edge-7")).json()["measured"] == found["measured"]


async def test_reported_failures_keep_the_client_out_until_a_reported_success(api: Api) -> None:
    await api.register("edge-7", "edge-8")
    body = {"success": False, "kind": "faulty", "reason": "NaN in layer 3"}
    for _ in range(3):
        response = await api.http.post("/v1/clients/edge-7/outcomes", json=body)
    breaker = response.json()["breaker"]
    assert (breaker["state"], breaker["cause"]) == ("open", "3 failures in a row")
    told = {"at": NOW, "phase": "fit", "kind": "faulty", "training_id": None, "round": None}
    assert breaker["last_failures"][-1] == told | {"reason": "reported by admin key: NaN in layer 3"}
    assert await listed(api, "healthy=true&breaker=closed") == ["edge-8"]
    plan = (await api.http.post("/v1/selections", json={"min_clients": 1})).json()
    assert [chosen["client_id"] for chosen in plan["selected"]] == ["edge-8"]
    api.clock.advance(40.0)
    assert (await api.http.post("/v1/clients/edge-7/outcomes", json={"success": True})).json()["breaker"] == (
        breaker
        | {"state": "closed", "consecutive_failures": 0, "openings": 0, "opened_at": None, "retry_at": None}
        | {"last_failure_at": None, "cause": None}
    )


async def test_a_failure_needs_no_reason_and_a_client_is_needed(api: Api) -> None:
    await api.register("edge-7")
    found = (await api.http.post("/v1/clients/edge-7/outcomes", json={"success": False})).json()
    (failure,) = found["breaker"]["last_failures"]
    assert (failure["kind"], failure["reason"]) == ("unreachable", "reported by admin key: no reason was given")
    assert_problem(await api.http.post("/v1/clients/nobody/outcomes", json={"success": True}), 404)


async def test_reports_are_in_the_audit_trail(api: Api) -> None:
    await api.register("edge-7")
    await api.http.post("/v1/clients/edge-7/outcomes", json={"success": True})
    await api.http.post("/v1/clients/nobody/outcomes", json={"success": True})
    await api.system.audit.write()
    records = (await api.http.get("/v1/audit?operation=POST /v1/clients/{client_id}/outcomes")).json()["items"]
    assert sorted((record["parameters"]["client_id"], record["status"]) for record in records) == [
        ("edge-7", 200),
        ("nobody", 404),
    ]
