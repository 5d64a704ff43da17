"""Servers without a disk in common: their models are in a bucket, which goes away in the middle of a round."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from tcsfeel.agent import hosting
from tcsfeel.wire.codec import decode
from tests.buckets import CREDENTIALS, BucketServer
from tests.e2e.servers import TAKEN_OVER_SOON, call, server, unhandled
from tests.planes import Adder

PATIENCE = 120.0


async def test_a_round_outlasts_its_bucket_and_its_server(
    database_url: str, tmp_path: Path, bucket_server: BucketServer
) -> None:
    environment = {**CREDENTIALS, **TAKEN_OVER_SOON, "TCSFEEL_MODELS__URL": bucket_server.url}
    trainers = {f"client-{index}": Adder() for index in range(2)}
    trainers["client-1"].open.clear()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with (
        server(tmp_path / "one", database_url, **environment) as one,
        one.api() as api,
        hosting(trainers, server_url=one.url, api_key=one.key),
    ):
        selection = {"strategy": "random", "min_clients": 2, "max_clients": 2}
        body = {"name": "bucket", "max_rounds": 2, "target_accuracy": 1.0, "selection": selection}
        training = await call(api, "POST", "/v1/trainings", json=body)
        path = f"/v1/trainings/{training['id']}"
        await call(api, "POST", f"{path}/start")
        await _until(lambda: all(trainer.fitted for trainer in trainers.values()))
        await asyncio.to_thread(bucket_server.stop)
        trainers["client-1"].open.set()
        await _until(lambda: "ObjectStoreUnavailable" in one.log.read_text())
        assert [item["status"] for item in (await call(api, "GET", f"{path}/rounds"))["items"]] == ["aggregating"]
        one.kill()
        await asyncio.to_thread(bucket_server.start)
        environment["TCSFEEL_AUTH__ADMIN_KEY"] = one.key  # the secret for the agents' tokens is derived from it
        async with server(tmp_path / "other", database_url, **environment) as other, other.api() as api_of_other:
            api_of_other.headers["Authorization"] = f"Bearer {one.key}"
            training = await _completed(api_of_other, path)
            answer = await api_of_other.get(f"{path}/model")
            assert training["stop_reason"] == "max_rounds"
            np.testing.assert_array_equal(decode(answer.content)[0]["w"], np.full(3, 2, np.float32))
    assert all(set(trainer.fitted.values()) == {1} for trainer in trainers.values()), "a task was trained twice"
    logs = one.log.read_text() + other.log.read_text()
    assert not any(secret in logs for secret in CREDENTIALS.values())
    assert unhandled(one.log) == unhandled(other.log) == []


async def _completed(api: httpx2.AsyncClient, path: str) -> Any:
    async with asyncio.timeout(PATIENCE):
        while (training := await call(api, "GET", path))["status"] == "running":  # noqa: ASYNC110  (of another process)
            await asyncio.sleep(0.05)
    return training


async def _until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
