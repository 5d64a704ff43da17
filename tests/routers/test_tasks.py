"""Agents that pull: they ask for their tasks, and deliver results, over REST."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tcsfeel.wire.codec import MEDIA_TYPE, decode, encode
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.tasks import TaskResult, read_task, result_metadata
from tests.api import Api, caller, profile, running_api
from tests.clocks import Sleeping

MODEL = {"w": np.zeros(3, np.float32)}
RESULT = TaskResult(num_examples=100, loss=0.5, accuracy=0.9)
BODY = encode({"w": np.full(3, 2.0, np.float32)}, result_metadata(RESULT))
PULLS = {name: value for name, value in profile().items() if name != "url"}


class Puller:
    """An agent that pulls, step by step."""

    def __init__(self, http: httpx2.AsyncClient, client_id: str) -> None:
        self.http = http
        self.path = f"/v1/clients/{client_id}/tasks"

    async def next(self, wait: float = 20.0, *known: str) -> httpx2.Response:
        return await self.http.get(f"{self.path}/next", params={"wait": wait, "known": list(known)})

    async def put(self, task_id: str, body: bytes, **headers: str) -> httpx2.Response:
        said = {"Content-Type": MEDIA_TYPE, CONTENT_DIGEST: written_digest(digest_of([body]))}
        return await self.http.put(
            f"{self.path}/{task_id}/result",
            content=body,
            headers=said | {n.replace("_", "-"): v for n, v in headers.items()},
        )


@asynccontextmanager
async def puller(api: Api, client_id: str) -> AsyncIterator[Puller]:
    """A registered agent that pulls, with a key of its own."""
    new = (await api.http.post("/v1/keys", json={"name": client_id, "role": "agent", "client_id": client_id})).json()
    async with caller(api.app, headers={"Authorization": f"Bearer {new['key']}"}) as http:
        assert (await http.put(f"/v1/clients/{client_id}", json=PULLS)).status_code == 201
        yield Puller(http, client_id)


async def training_of(api: Api, **fields: Any) -> str:
    """A training of one client in each round that has a model."""
    given = {
        "target_accuracy": 1.0,
        "max_rounds": 1,
        "selection": {"min_clients": 1, "max_clients": 1, "strategy": "random"},
        "evaluation": {"clients": 0},
    }
    training_id = await api.create_training(**given | fields)
    sent = await api.http.put(f"/v1/trainings/{training_id}/model", content=encode(MODEL))
    assert sent.status_code == 200, sent.text
    return training_id


async def run(api: Api, training_id: str) -> Mapping[str, Any]:
    """Run one round of a training, and return it."""
    found = await api.http.post(f"/v1/trainings/{training_id}/rounds", headers={"Prefer": "wait=30"})
    assert found.status_code == 200, found.text
    round_: Mapping[str, Any] = found.json()
    return round_


@pytest.fixture
async def pulling(tmp_path: Path, database_url: str) -> AsyncIterator[Api]:
    async with running_api(
        tmp_path / "data", database_url, sleeping=Sleeping.LASTS, coordinator={"tick_seconds": 0.05}
    ) as api:
        yield api


async def test_a_client_without_an_address_trains(pulling: Api) -> None:
    async with puller(pulling, "edge-7") as agent:
        assert (await agent.http.get("/v1/clients/edge-7")).json()["url"] is None
        assert (await agent.next(0.0)).status_code == 204
        training_id = await training_of(pulling)
        running = asyncio.create_task(run(pulling, training_id))
        got = await agent.next()
        assert got.status_code == 200
        assert got.headers[CONTENT_DIGEST] == written_digest(digest_of([got.content]))
        tensors, metadata = decode(got.content)
        task = read_task(metadata)
        assert (task.id, task.kind, tensors["w"].tolist()) == (f"{training_id}.1.edge-7.fit", "fit", [0.0, 0.0, 0.0])
        assert got.headers["Tcsfeel-Task"] == task.id
        assert (await agent.next(0.0, task.id)).status_code == 204
        assert (await agent.next(0.0)).content[:8] == got.content[:8]  # an agent that has lost the task gets it again
        assert (await agent.put(task.id, BODY)).status_code == 204
        assert (await agent.put(task.id, BODY)).status_code in {204, 410}
        found = await running
    (part,) = found["participations"]
    assert (found["status"], part["status"], part["num_examples"]) == ("completed", "received", 100)
    assert part["bytes_received"] == len(BODY)
    assert part["bytes_sent"] == 2 * len(got.content)
    model = await pulling.http.get(f"/v1/trainings/{training_id}/model")
    assert decode(model.content)[0]["w"].tolist() == [2.0, 2.0, 2.0]
