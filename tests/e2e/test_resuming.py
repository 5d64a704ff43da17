"""A link that is cut every 5 MB: 100 MB arrive in both directions, and few bytes are sent twice."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from httpx2 import URL, AsyncClient

from tcsfeel.agent import FitResult, Parameters, Profile, Task, hosting
from tcsfeel.wire.codec import encode
from tests.cutting import cut_link
from tests.e2e.servers import call, free_port, server

VALUES = 25_000_000  # of 4 bytes
BYTES = 4 * VALUES
EVERY = 5_000_000
BODY = {
    "name": "large",
    "selection": {"strategy": "random", "min_clients": 1, "max_clients": 1},
    "evaluation": {"clients": 0},
    "round_policy": {"deadline_seconds": 300},
    "max_rounds": 1,
}


class Large:
    """A trainer with a model of 100 MB, or of another size, to which it adds 1."""

    def __init__(self, values: int = VALUES) -> None:
        self._values = values

    def initial_parameters(self) -> Parameters:
        return {"w": np.zeros(self._values, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        del task
        return FitResult({"w": parameters["w"] + 1}, 10, 0.5)

    def profile(self) -> Profile:
        return Profile(data_size=10, data_distribution=[10], bandwidth=100.0, latency=1.0)


async def test_an_agent_that_pulls_gets_and_delivers_100_mb_over_a_link_that_is_cut(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with server(tmp_path, sqlite_url) as plane, plane.api() as api:
        made = await call(api, "POST", "/v1/invitations", json={"uses": 1})
        async with cut_link(("127.0.0.1", URL(plane.url).port or 0), every=EVERY) as link:
            state = tmp_path / "state"
            url = f"http://127.0.0.1:{link.port}"
            async with hosting({"edge-7": Large()}, server_url=url, invite=made["secret"], state=state, pull=True):
                await train(api)
        metrics = (await api.get("/metrics")).text
    assert 'federated_transfers_resumed_total{body="task",channel="pull"}' in metrics
    assert link.cuts >= 3 * BYTES // EVERY - 3  # the initial model, the task and the result
    assert BYTES <= link.downwards <= 1.1 * BYTES
    assert 2 * BYTES <= link.upwards <= 2.2 * BYTES


async def test_an_agent_that_is_called_gets_and_delivers_100_mb_over_a_link_that_is_cut(
    sqlite_url: str, tmp_path: Path
) -> None:
    port = free_port()
    async with (
        server(tmp_path, sqlite_url) as plane,
        plane.api() as api,
        cut_link(("127.0.0.1", port), every=EVERY) as link,
    ):
        made = await call(api, "POST", "/v1/invitations", json={"uses": 1})
        async with hosting(
            {"edge-7": Large()},
            server_url=plane.url,
            invite=made["secret"],
            state=tmp_path / "state",
            port=port,
            advertise_url=f"http://127.0.0.1:{link.port}",
            pull=False,
        ):
            await train(api)
        metrics = (await api.get("/metrics")).text
    for body in ("model", "task", "result"):
        assert f'federated_transfers_resumed_total{{body="{body}",channel="push"}}' in metrics
    assert link.cuts >= 3 * BYTES // EVERY - 3
    assert BYTES <= link.upwards <= 1.1 * BYTES
    assert 2 * BYTES <= link.downwards <= 2.2 * BYTES


@pytest.mark.parametrize("pull", [False])
async def test_a_device_that_moves_50_kb_a_second_for_the_whole_deadline_is_not_called_dead(
    sqlite_url: str, tmp_path: Path, *, pull: bool
) -> None:
    port = free_port()
    async with server(tmp_path, sqlite_url, TCSFEEL_HEALTH__INTERVAL_SECONDS="3") as plane, plane.api() as api:
        upstream = (URL(plane.url).port or 0) if pull else port
        made = await call(api, "POST", "/v1/invitations", json={"uses": 1})
        async with (
            cut_link(("127.0.0.1", upstream), rate=50_000) as link,
            hosting(
                {"edge-7": Large(5_000_000)},  # 20 MB: the system itself holds some for sending
                server_url=f"http://127.0.0.1:{link.port}" if pull else plane.url,
                invite=made["secret"],
                state=tmp_path / "state",
                port=port,
                advertise_url=None if pull else f"http://127.0.0.1:{link.port}",
                pull=pull,
                heartbeat_seconds=1000,
            ),
        ):
            training = await call(api, "POST", "/v1/trainings", json=BODY | {"round_policy": {"deadline_seconds": 10}})
            path = f"/v1/trainings/{training['id']}"
            model = encode({"w": np.zeros(5_000_000, np.float32)})
            assert (await api.put(f"{path}/model", content=model)).status_code == 200
            ended = await api.post(f"{path}/rounds", headers={"Prefer": "wait=60"})
            round_ = ended.json()
            client = await call(api, "GET", "/v1/clients/edge-7")
            breaker = await call(api, "GET", "/v1/clients/edge-7/breaker")
    (part,) = round_["participations"]
    assert (round_["status"], part["status"]) == ("abandoned", "skipped"), round_
    assert part["reason"].startswith("a transfer to or from it was still moving"), part
    assert (client["status"], breaker["state"], breaker["consecutive_failures"]) == ("healthy", "closed", 0)


async def train(api: AsyncClient) -> None:
    training = await call(api, "POST", "/v1/trainings", json=BODY)
    path = f"/v1/trainings/{training['id']}"
    await call(api, "POST", f"{path}/start")
    async with asyncio.timeout(200):
        while (await call(api, "GET", path))["status"] == "running":  # noqa: ASYNC110  (of another process)
            await asyncio.sleep(0.1)
    round_ = await call(api, "GET", f"{path}/rounds/1")
    (part,) = round_["participations"]
    assert (part["status"], part["attempts"], part["reason"]) == ("received", 1, None), round_
