"""Calls of one caller beyond its limits."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.api import AUTHORIZED, KEY, Api, assert_problem, caller, running_api
from tests.routers.samples import MODEL

FEW: dict[str, Any] = {"requests_per_second": 1, "address_requests_per_second": 1}


def stand_still(api: Api) -> None:
    """Stop the clock by which calls are counted."""
    api.system.limits._clock = lambda: 1000.0


def counted(api: Api, limit: str) -> float | None:
    return api.system.metrics.registry.get_sample_value("federated_limited_total", {"limit": limit})


async def test_a_key_that_calls_too_often_is_told_when_to_come_again(tmp_path: Path, database_url: str) -> None:
    async with running_api(tmp_path / "data", database_url, limits=FEW) as api:
        stand_still(api)
        for _ in range(10):
            assert (await api.http.get("/v1/strategies")).status_code == 200
        refused = await api.http.post("/v1/trainings", json={"name": "x"})
        problem = assert_problem(refused, 429)
        assert problem["type"] == "urn:tcsfeel:problem:limit-reached"
        assert problem["detail"] == (
            "this key has sent more calls than 1 a second; the limit is set by TCSFEEL_LIMITS__REQUESTS_PER_SECOND"
        )
        assert refused.headers["Retry-After"] == "1"
        assert counted(api, "requests_per_second") == 1
        async with caller(api.app, address="127.0.0.9", headers=AUTHORIZED) as elsewhere:
            assert_problem(await elsewhere.get("/v1/strategies"), 429)  # the same key, from another address
        assert (await api.stored())["trainings"] == []


async def test_an_address_that_calls_too_often_without_a_key_is_refused_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url, limits=FEW) as api:
        stand_still(api)
        answers = [(await api.anonymous.get(path)).status_code for path in ["/healthz", "/openapi.json"] * 5]
        assert answers == [200] * 10
        for path in ("/healthz", "/readyz", "/metrics", "/docs", "/nothing"):
            refused = await api.anonymous.get(path)
            assert "this address has sent more calls than 1 a second" in assert_problem(refused, 429)["detail"]
            assert refused.headers["X-Request-ID"]
        assert counted(api, "address_requests_per_second") == 5
        assert (await api.http.get("/v1/strategies")).status_code == 200
        async with caller(api.app, address="127.0.0.9") as elsewhere:
            assert (await elsewhere.get("/healthz")).status_code == 200


async def test_calls_that_are_answered_at_once_have_a_limit(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url, limits={"concurrent_requests": 2}) as api:
        begun, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def body() -> Any:
            begun.release()
            await go_on.wait()
            yield b'{"name": "x"}'

        async def create() -> int:
            headers = {"Content-Type": "application/json"}
            return (await api.http.post("/v1/trainings", content=body(), headers=headers)).status_code

        slow = [asyncio.create_task(create()) for _ in range(2)]
        for _ in slow:
            await begun.acquire()
        refused = await api.http.get("/v1/strategies")
        assert (
            "this key has sent more than 2 calls that this server has not answered yet"
            in assert_problem(refused, 429)["detail"]
        )
        assert (counted(api, "concurrent_requests"), KEY in refused.text) == (1, False)
        go_on.set()
        assert await asyncio.gather(*slow) == [201, 201]
        assert (await api.http.get("/v1/strategies")).status_code == 200


async def test_trainings_and_bytes_of_a_key_have_limits(tmp_path: Path, sqlite_url: str) -> None:
    few = {"trainings": 1, "model_bytes": len(MODEL) - 1}
    async with running_api(tmp_path / "data", sqlite_url, limits=few) as api:
        training_id = await api.create_training()
        refused = await api.http.post("/v1/trainings", json={"name": "x"})
        problem = assert_problem(refused, 429)
        assert (problem["type"], refused.headers["Retry-After"]) == ("urn:tcsfeel:problem:limit-reached", "60")
        refused = await api.http.put(f"/v1/trainings/{training_id}/model", content=MODEL)
        problem = assert_problem(refused, 413)
        assert (problem["type"], "Retry-After" in refused.headers) == ("urn:tcsfeel:problem:limit-reached", False)
        assert (counted(api, "trainings"), counted(api, "model_bytes")) == (1, 1)


async def test_limits_that_callers_share_are_counted_by_their_name(sqlite_api: Api) -> None:
    training_id = await sqlite_api.create_training()
    with ExitStack() as stack:
        while sqlite_api.system.waits._portions.may_take("127.0.0.1", 1):
            stack.enter_context(sqlite_api.system.waits.place("127.0.0.1"))
        refused = await sqlite_api.http.post(f"/v1/trainings/{training_id}/rounds", headers={"Prefer": "wait=1"})
    assert_problem(refused, 503)
    assert counted(sqlite_api, "waits") == 1


async def test_a_device_has_a_limit_of_its_own(tmp_path: Path, sqlite_url: str) -> None:
    few = {"agent_requests_per_second": 1, "agent_concurrent_requests": 1}
    async with running_api(tmp_path / "data", sqlite_url, limits=few) as api:
        stand_still(api)
        await api.register("edge-7", "edge-8")
        keys = []
        for client_id in ("edge-7", "edge-8"):
            key = {"name": client_id, "role": "agent", "client_id": client_id}
            keys.append((await api.http.post("/v1/keys", json=key)).json()["key"])
        first, second = ({"Authorization": f"Bearer {key}"} for key in keys)
        for _ in range(10):
            assert (await api.anonymous.post("/v1/clients/edge-7/heartbeat", headers=first)).is_success
        refused = await api.anonymous.post("/v1/clients/edge-7/heartbeat", headers=first)
        assert "this device has sent more calls than 1 a second" in assert_problem(refused, 429)["detail"]
        assert (await api.anonymous.post("/v1/clients/edge-8/heartbeat", headers=second)).is_success
        assert counted(api, "agent_requests_per_second") == 1


async def test_a_body_that_is_too_long_is_counted(sqlite_api: Api) -> None:
    assert_problem(await sqlite_api.http.post("/v1/trainings", json={"name": "x" * 600_000}), 413)
    assert counted(sqlite_api, "body_bytes") == 1
