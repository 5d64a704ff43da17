"""Calls of one caller beyond its limits."""

import asyncio
from pathlib import Path
from typing import Any

from tests.api import AUTHORIZED, KEY, Api, assert_problem, caller, running_api

FEW: dict[str, Any] = {"requests_per_second": 1, "address_requests_per_second": 1}


def counted(api: Api, limit: str) -> float | None:
    return api.system.metrics.registry.get_sample_value("federated_limited_total", {"limit": limit})


async def test_a_key_that_calls_too_often_is_told_when_to_come_again(tmp_path: Path, database_url: str) -> None:
    async with running_api(tmp_path / "data", database_url, limits=FEW) as api:
        for _ in range(10):
            assert (await api.http.get("/v1/strategies")).status_code == 200
        refused = await api.http.post("/v1/trainings", json={"name": "x"})
        problem = assert_problem(refused, 429)
        assert problem["type"] == "urn:tcsfeel:problem:limit-reached"
        assert problem["detail"] == (
            "this key may send 1 calls a second, and has sent more; "
            "the limit is set by TCSFEEL_LIMITS__REQUESTS_PER_SECOND"
        )
        assert refused.headers["Retry-After"] == "1"
        assert counted(api, "requests_per_second") == 1
        async with caller(api.app, address="127.0.0.9", headers=AUTHORIZED) as elsewhere:
            assert_problem(await elsewhere.get("/v1/strategies"), 429)  # the same key, from another address
        assert (await api.stored())["trainings"] == []


async def test_an_address_that_calls_too_often_without_a_key_is_refused_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url, limits=FEW) as api:
        answers = [(await api.anonymous.get(path)).status_code for path in ["/healthz", "/openapi.json"] * 5]
        assert answers == [200] * 10
        for path in ("/healthz", "/readyz", "/metrics", "/docs", "/nothing"):
            refused = await api.anonymous.get(path)
            assert "this address may send 1 calls a second" in assert_problem(refused, 429)["detail"]
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
        assert "2 calls of this key are being answered" in assert_problem(refused, 429)["detail"]
        assert (counted(api, "concurrent_requests"), KEY in refused.text) == (1, False)
        go_on.set()
        assert await asyncio.gather(*slow) == [201, 201]
        assert (await api.http.get("/v1/strategies")).status_code == 200
