"""Models that agents fetch from the bucket by themselves, over real sockets, called and pulling."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.rounds import ENDED
from app.services.tasks.sources import LEAST_BYTES
from tcsfeel.agent import Parameters, hosting
from tcsfeel.wire.codec import decode
from tests.buckets import CREDENTIALS, BucketServer
from tests.e2e.servers import PATIENCE, call, server, unhandled
from tests.planes import Adder


class Large(Adder):
    """Has a model that is worth a URL."""

    def initial_parameters(self) -> Parameters:
        return {"w": np.zeros(LEAST_BYTES // 4, np.float32)}


@pytest.mark.untraced
async def test_models_do_not_go_through_the_server(
    sqlite_url: str, tmp_path: Path, bucket_server: BucketServer
) -> None:
    environment = {**CREDENTIALS, "TCSFEEL_MODELS__URL": bucket_server.url, "TCSFEEL_MODELS__PRESIGNED_URLS": "true"}
    trainers = {"called": Large(), "pulls": Large()}
    async with server(tmp_path, sqlite_url, **environment) as plane, plane.api() as api:
        made = await call(api, "POST", "/v1/invitations", json={"uses": 2})
        options: dict[str, Any] = {"server_url": plane.url, "invite": made["secret"], "state": tmp_path / "state"}
        async with (
            hosting({"called": trainers["called"]}, **options, pull=False),
            hosting({"pulls": trainers["pulls"]}, **options, pull=True),
        ):
            selection = {"strategy": "random", "min_clients": 2, "max_clients": 2}
            body = {"name": "large", "selection": selection, "evaluation": {"clients": 0}}
            training = await call(api, "POST", "/v1/trainings", json=body)
            path = f"/v1/trainings/{training['id']}"
            await _round(api, path)
            by_url = await _round(api, path)
            assert {part["client_id"] for part in by_url} == {"called", "pulls"}
            assert all(0 < part["bytes_sent"] < 10_000 for part in by_url), by_url
            model = decode((await api.get(f"{path}/model")).content)[0]["w"]
            assert (model.size, set(model.tolist())) == (LEAST_BYTES // 4, {2.0})
            metrics = (await api.get("/metrics")).text
            results = 'http_request_size_bytes_sum{handler="/v1/clients/{client_id}/tasks/{task_id}/result"} '
            (size,) = [line.removeprefix(results) for line in metrics.splitlines() if line.startswith(results)]
            assert float(size) < 1.2 * LEAST_BYTES  # the initial parameters at most, and none of two updates
            assert not [name for name in bucket_server.names() if "uploads" in name]
            for channel in ("push", "pull"):
                counted = f'federated_parameters_by_url_total{{channel="{channel}",way='
                assert float(metrics.split(f'{counted}"url"}} ')[1].split("\n")[0]) >= 2
                assert f'{counted}"server"}} 0.0' in metrics
        assert [list(one.fitted.values()) for one in trainers.values()] == [[1, 1], [1, 1]]
    log = plane.log.read_text()
    assert not any(secret in log for secret in ("X-Amz-", *CREDENTIALS.values()))
    assert unhandled(plane.log) == []


async def _round(api: Any, path: str) -> list[Any]:
    """Run a round to its end, and return its participations."""
    found = await call(api, "POST", f"{path}/rounds", headers={"Prefer": "wait=60"})
    async with asyncio.timeout(PATIENCE):
        while found["status"] not in ENDED:  # of a busy machine
            await asyncio.sleep(0.1)
            found = await call(api, "GET", f"{path}/rounds/{found['number']}")
    assert found["status"] == "completed", found
    parts: list[Any] = found["participations"]
    return parts
