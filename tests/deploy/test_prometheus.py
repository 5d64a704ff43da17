"""A real Prometheus scrapes a server whose devices train: each expression has data, and a fault fires its alert."""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import yaml

from tcsfeel.wire.codec import Parameters, encode
from tests.deploy.rules import ALERTS, ENVIRONMENT, MISSING, PROMETHEUS, alerts, always, panels
from tests.e2e.federations import federation
from tests.e2e.servers import Server, call, free_port
from tests.planes import until

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason=MISSING)

SECONDS = 300.0
BEFORE_THE_FIRST_TIME = {
    # A counter of these begins with what it counts, whose names cannot be known before.
    "trainings: Forms of updates A",
}


@pytest.fixture
def server(tmp_path: Path, sqlite_url: str) -> Iterator[Server]:
    with federation(tmp_path, sqlite_url) as running:
        yield running


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.AsyncClient(base_url=url, timeout=60.0)

    async def close(self) -> None:
        await self._http.aclose()

    async def query(self, expr: str) -> list[Any]:
        answer = (await self._http.get("/api/v1/query", params={"query": expr})).json()
        assert answer["status"] == "success", answer
        found: list[Any] = answer["data"]["result"]
        return found

    async def firing(self) -> set[str]:
        answer = (await self._http.get("/api/v1/alerts")).json()
        return {one["labels"]["alertname"] for one in answer["data"]["alerts"] if one["state"] == "firing"}

    async def ready(self) -> bool:
        with contextlib.suppress(httpx2.TransportError):
            return (await self._http.get("/-/ready")).is_success
        return False


@contextlib.asynccontextmanager
async def prometheus(directory: Path, target: str) -> AsyncIterator[Prometheus]:
    """Scrape `target` each second, with the alerts as they are, except that none waits before it fires."""
    rules = yaml.safe_load(ALERTS.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    (directory / "alerts.yml").write_text(json.dumps(rules))
    scrape = {"job_name": "tcsfeel", "static_configs": [{"targets": [target]}]}
    seconds = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration = {"global": seconds, "rule_files": ["alerts.yml"], "scrape_configs": [scrape]}
    (directory / "prometheus.yml").write_text(json.dumps(configuration))
    port = free_port()
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220, S603  (a start is quick; the command is ours)
            [str(PROMETHEUS), f"--config.file={directory / 'prometheus.yml'}", f"--web.listen-address=127.0.0.1:{port}",
             f"--storage.tsdb.path={directory / 'series'}"],
            env=ENVIRONMENT, stdout=log, stderr=log,
        )  # fmt: skip
    running = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await until(running.ready)
        yield running
    finally:
        await running.close()
        process.kill()
        process.wait()


async def without_data(running: Prometheus) -> set[str]:
    """The names of the alerts and panels whose expressions have no data now."""
    of_alerts = [(alert.name, always(alert.expr)) for alert in alerts()]
    return {name for name, expr in [*of_alerts, *panels()] if not await running.query(expr)}


async def has_data(running: Prometheus) -> bool:
    return await without_data(running) <= BEFORE_THE_FIRST_TIME


async def fires(running: Prometheus, name: str) -> bool:
    return name in await running.firing()


async def started(api: httpx2.AsyncClient, model: Parameters | None = None, **fields: Any) -> str:
    """A training that was started, perhaps with a first model."""
    given = {"name": "digits", "selection": {"min_clients": 2, "max_clients": 3}, "max_rounds": 100_000} | fields
    training_id: str = (await call(api, "POST", "/v1/trainings", json=given))["id"]
    if model is not None:
        headers = {"Content-Type": "application/octet-stream"}
        await call(api, "PUT", f"/v1/trainings/{training_id}/model", content=encode(model), headers=headers)
    await call(api, "POST", f"/v1/trainings/{training_id}/start")
    return training_id


async def fails_again(api: httpx2.AsyncClient, running: Prometheus, training_id: str) -> bool:
    """Whether the alert fires. Until then an operator who does not see the cause lets all devices in again."""
    for number in range(3):
        await call(api, "POST", f"/v1/clients/edge-{number}/breaker/reset")
    if (await call(api, "GET", f"/v1/trainings/{training_id}"))["status"] == "failed":
        await call(api, "POST", f"/v1/trainings/{training_id}/start")
    return await fires(running, "TcsfeelManyDevicesFail")


async def test_each_expression_has_data_while_devices_train(server: Server, tmp_path: Path) -> None:
    target = server.url.removeprefix("http://")
    async with asyncio.timeout(SECONDS), prometheus(tmp_path, target) as running, server.api() as api:
        await started(api, goal={"metric": "accuracy"})
        try:
            await until(partial(has_data, running))
        except TimeoutError:
            pytest.fail(f"without data: {sorted(await without_data(running))}")
        assert "TcsfeelManyDevicesFail" not in await running.firing()


async def test_devices_that_cannot_train_a_model_fire_the_alert_of_their_runbook(
    server: Server, tmp_path: Path
) -> None:
    target = server.url.removeprefix("http://")
    async with asyncio.timeout(SECONDS), prometheus(tmp_path, target) as running, server.api() as api:
        broken = await started(api, {"unknown": np.zeros(3, np.float32)})
        await until(partial(fails_again, api, running, broken))
        failures = 'federated_client_failures_total{kind="faulty",phase="fit"}'  # where the runbook says to look
        assert float((await running.query(failures))[0]["value"][1]) > 0
