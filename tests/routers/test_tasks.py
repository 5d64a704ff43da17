"""Agents that pull: they ask for their tasks, and deliver results, over REST."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tcsfeel.wire.codec import MEDIA_TYPE, decode, encode
from tcsfeel.wire.compression import compressed
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.tasks import TaskResult, read_task, result_metadata
from tests.api import PROBLEM, Api, assert_problem, caller, profile, running_api
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
        again = await agent.next(0.0)  # an agent that has lost the task gets it again, with the time that is left
        assert again.headers["Tcsfeel-Task"] == task.id
        assert decode(again.content)[0]["w"].tolist() == [0.0, 0.0, 0.0]
        assert (await agent.put(task.id, BODY)).status_code == 204
        assert (await agent.put(task.id, BODY)).status_code in {204, 410}
        found = await running
    (part,) = found["participations"]
    assert (found["status"], part["status"], part["num_examples"]) == ("completed", "received", 100)
    assert part["bytes_received"] == len(BODY)
    assert part["bytes_sent"] == len(got.content) + len(again.content)
    model = await pulling.http.get(f"/v1/trainings/{training_id}/model")
    assert decode(model.content)[0]["w"].tolist() == [2.0, 2.0, 2.0]


async def test_only_the_device_itself_asks_for_its_tasks_and_delivers_them(pulling: Api) -> None:
    async with puller(pulling, "edge-7") as agent, puller(pulling, "edge-8") as other:
        for http in (pulling.http, other.http):
            assert_problem(await http.get(f"{agent.path}/next"), 403)
            assert_problem(await Puller(http, "edge-7").put("t.1.edge-7.fit", BODY), 403)
        assert_problem(await pulling.anonymous.get(f"{agent.path}/next"), 401)
        assert_problem(await agent.put("t.1.edge-7.fit", BODY), 404)


async def test_a_failed_task_is_tried_again_and_its_reason_is_shown(pulling: Api) -> None:
    async with puller(pulling, "edge-7") as agent:
        training_id = await training_of(pulling, round_policy={"deadline_seconds": 30})
        running = asyncio.create_task(run(pulling, training_id))
        problem = {"status": 500, "title": "x", "detail": "the data file is missing", "retry": False}
        task_id = (await agent.next()).headers["Tcsfeel-Task"]
        sent = await agent.put(task_id, json.dumps(problem).encode(), Content_Type=PROBLEM)
        assert sent.status_code == 204, sent.text
        found = await running
    (part,) = found["participations"]
    assert (part["status"], part["reason"]) == ("failed", "its trainer failed: the data file is missing")


async def test_a_late_result_is_refused_and_changes_nothing(pulling: Api) -> None:
    async with puller(pulling, "edge-7") as agent:
        training_id = await training_of(pulling)
        running = asyncio.create_task(run(pulling, training_id))
        task_id = (await agent.next()).headers["Tcsfeel-Task"]
        assert (await pulling.http.post(f"/v1/trainings/{training_id}/cancel")).status_code == 202
        unwanted = await agent.next(20.0, task_id)
        assert (unwanted.status_code, unwanted.headers.get("Tcsfeel-Unwanted")) == (204, task_id)
        refused = assert_problem(await agent.put(task_id, BODY), 410)
        assert refused["detail"].endswith("its round went on without it, so forget the task")
        await running


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Digest": "sha-256=:" + "A" * 43 + "=:"}, 400),
        ({"Content_Encoding": "gzip"}, 415),
    ],
)
async def test_a_result_that_cannot_be_taken_is_refused_with_a_reason(
    pulling: Api, headers: dict[str, str], status: int
) -> None:
    async with puller(pulling, "edge-7") as agent:
        training_id = await training_of(pulling)
        running = asyncio.create_task(run(pulling, training_id))
        task_id = (await agent.next()).headers["Tcsfeel-Task"]
        refused = await agent.put(task_id, BODY, **headers)
        assert (refused.status_code, refused.headers["Content-Type"]) == (status, PROBLEM), refused.text
        assert_problem(await agent.put(task_id, b"x" * 1_000_000), 413)
        assert (await agent.put(task_id, BODY)).status_code == 204
        assert (await running)["status"] == "completed"


async def test_a_result_comes_in_zstd_if_its_training_wants_that(pulling: Api) -> None:
    async with puller(pulling, "edge-7") as agent:
        training_id = await training_of(pulling, uploads={"encoding": "full", "compression": "zstd"})
        running = asyncio.create_task(run(pulling, training_id))
        got = await agent.next()
        assert got.headers["Accept-Encoding"] == "zstd"
        frame = b"".join(compressed(iter([BODY])))
        assert_problem(await agent.put(got.headers["Tcsfeel-Task"], frame, Content_Encoding="gzip"), 415)
        sent = await agent.put(got.headers["Tcsfeel-Task"], frame, Content_Encoding="zstd")
        assert sent.status_code == 204, sent.text
        (part,) = (await running)["participations"]
    assert (part["status"], part["bytes_received"]) == ("received", len(frame))


async def test_an_agent_that_waits_gives_a_sign_of_life(pulling: Api) -> None:
    async with puller(pulling, "edge-7") as agent:
        assert (await agent.next(0.0)).status_code == 204
        await pulling.system.clients.signs.write()
        pulling.clock.advance(25.0)
        assert (await agent.next(0.0)).status_code == 204
        await pulling.system.clients.signs.write()
        pulling.clock.advance(25.0)
        await pulling.system.prober.tick()
        assert (await agent.http.get("/v1/clients/edge-7")).json()["status"] == "healthy"
        pulling.clock.advance(25.0)
        await pulling.system.prober.tick()
        assert (await agent.http.get("/v1/clients/edge-7")).json()["status"] == "suspect"


async def test_a_client_changes_between_an_address_and_pulling(pulling: Api) -> None:
    async with puller(pulling, "edge-7") as agent:
        path = "/v1/clients/edge-7"
        assert_problem(await agent.http.put(path, json=PULLS | {"auth_token": "secret"}), 422, "/auth_token")
        assert_problem(await agent.http.patch(path, json={"auth_token": "secret"}), 422, "/auth_token")
        called = await agent.http.put(path, json=profile(auth_token="secret"))
        assert called.json()["url"] == "http://10.0.0.7:9000"
        assert (await agent.http.patch(path, json={"url": None})).json()["url"] is None
    async with pulling.system.db.glance() as tx:
        assert (await tx.clients.get("edge-7")).profile.auth_token is None


async def test_any_server_gives_a_task_and_takes_its_result(tmp_path: Path, postgres_url: str) -> None:
    shared: dict[str, Any] = {"sleeping": Sleeping.LASTS, "models": {"url": f"file://{tmp_path}/models"}}
    owning = {"tick_seconds": 0.05}
    async with (
        running_api(tmp_path / "a", postgres_url, coordinator=owning, **shared) as owner,
        running_api(tmp_path / "b", postgres_url, coordinator={"enabled": False}, **shared) as other,
        puller(owner, "edge-7") as agent,
        caller(other.app, headers=agent.http.headers) as http,
    ):
        elsewhere = Puller(http, "edge-7")
        training_id = await training_of(owner)
        waiting = asyncio.create_task(elsewhere.next())
        running = asyncio.create_task(run(owner, training_id))
        got = await waiting
        assert got.status_code == 200
        assert (await elsewhere.put(got.headers["Tcsfeel-Task"], BODY)).status_code == 204
        assert (await running)["status"] == "completed"


async def test_a_result_comes_in_parts_and_the_rest_of_a_task_is_fetched(pulling: Api) -> None:
    partial = {"Content-Type": "application/partial-upload", "Repr-Digest": written_digest(digest_of([BODY]))}
    async with puller(pulling, "edge-7") as agent, puller(pulling, "edge-8") as other:
        training_id = await training_of(pulling)
        running = asyncio.create_task(run(pulling, training_id))
        got = await agent.next()
        task_id, etag = got.headers["Tcsfeel-Task"], got.headers["ETag"]
        body, where = f"{agent.path}/{task_id}", f"{agent.path}/{task_id}/result"
        rest = await agent.http.get(body, headers={"Range": "bytes=100-", "If-Match": etag})
        assert (rest.status_code, rest.content, rest.headers["ETag"]) == (206, got.content[100:], etag)
        assert rest.headers["Content-Range"] == f"bytes 100-{len(got.content) - 1}/{len(got.content)}"
        whole = await agent.http.get(body, headers={"Range": "bytes=100-", "If-Range": '"another"'})
        assert (whole.status_code, whole.content) == (200, got.content)
        assert_problem(await agent.http.get(body, headers={"If-Match": '"another"'}), 412)
        assert_problem(
            await agent.http.get(body, headers={"Range": f"bytes={len(got.content)}-"}), 416, "/header/range"
        )
        for call in (other.http.get(body), other.http.head(where), other.http.patch(where, content=b"x")):
            assert (await call).status_code == 403
        said = partial | {"Upload-Offset": "0", "Upload-Complete": "?0"}
        first = await agent.http.patch(where, content=BODY[:20], headers=said)
        assert (first.status_code, first.headers["Upload-Offset"]) == (204, "20"), first.text
        head = await agent.http.head(where)
        assert (head.headers["Upload-Offset"], head.headers["Upload-Complete"]) == ("20", "?0")
        assert head.headers["Upload-Limit"].startswith("max-size=")
        refused = await agent.http.patch(where, content=BODY[20:], headers=said)
        assert (assert_problem(refused, 409, "/header/upload-offset")["type"], refused.headers["Upload-Offset"]) == (
            "urn:tcsfeel:problem:wrong-offset", "20",
        )  # fmt: skip
        for name, value in (("Upload-Offset", "x"), ("Upload-Complete", "yes")):
            refused = await agent.http.patch(where, content=BODY[20:], headers=said | {name: value})
            assert_problem(refused, 422, f"/header/{name}")
        refused = await agent.http.patch(where, content=b"x", headers=said | {"Content-Type": MEDIA_TYPE})
        assert_problem(refused, 415, "/header/content-type")
        last = partial | {"Upload-Offset": "20", "Upload-Complete": "?1"}
        done = await agent.http.patch(where, content=BODY[20:], headers=last)
        assert (done.status_code, done.headers["Upload-Complete"]) == (204, "?1"), done.text
        found = await running
    (part,) = found["participations"]
    assert (part["status"], part["bytes_received"], part["bytes_sent"]) == ("received", len(BODY), len(got.content))
