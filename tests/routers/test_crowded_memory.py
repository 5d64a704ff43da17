"""Bodies and long answers of some callers fill the memory that there is for them; others go on."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress

import httpx2
import numpy as np
import pytest

from app.memory import LONG_ANSWERS_BYTES, SMALL_BYTES, STREAMED_BYTES, UPLOADS_BYTES, NoMemoryFree
from tcsfeel.wire.codec import encode
from tests.api import AUTHORIZED, Api, assert_problem, caller, profile

HERE, THERE = "127.0.0.1", "127.0.0.2"
LARGE = 16_000_000
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def full(sqlite_api: Api) -> Iterator[Api]:
    """An API whose memory for bodies is held by requests from `HERE`."""
    with ExitStack() as stack:
        for most in (SMALL_BYTES, LARGE):
            for _ in range(100):
                held = stack.enter_context(sqlite_api.system.body_memory.holding(HERE, most))
                with suppress(NoMemoryFree):
                    for _ in range(100):
                        held.grow(most // 100)
        yield sqlite_api


async def test_a_crowd_of_bodies_stops_no_heartbeat_registration_or_change(full: Api) -> None:
    await full.register("edge-7")
    calls = [
        ("PUT", "/v1/clients/edge-8", profile()),
        ("PATCH", "/v1/clients/edge-7", {"data_size": 5}),
        ("POST", "/v1/clients/edge-7/heartbeat", {"latency": 3.0}),
        ("POST", "/v1/trainings", {"name": "x"}),
        ("POST", "/v1/selections", {"min_clients": 1}),
    ]
    for method, path, body in calls:
        response = await full.http.request(method, path, json=body)
        assert response.is_success, (path, response.text)


async def test_a_long_body_is_told_to_come_again_and_one_from_elsewhere_has_room(full: Api) -> None:
    clients = [profile(id=f"edge-{number}", data_distribution=[1] * 5000) for number in range(100)]
    body = json.dumps({"clients": clients}).encode()
    assert len(body) > SMALL_BYTES
    refused = await full.http.post("/v1/clients/batch", content=body, headers=JSON)
    problem = assert_problem(refused, 503)
    assert (problem["type"], refused.headers["Retry-After"]) == ("urn:tcsfeel:problem:crowded", "5")
    assert problem["detail"].startswith("other requests are using too much of the 256000000 bytes of memory for bodies")
    async with caller(full.app, address=THERE, headers=AUTHORIZED) as elsewhere:
        assert (await elsewhere.post("/v1/clients/batch", content=body, headers=JSON)).status_code == 201


async def test_a_body_that_is_announced_and_does_not_fit_is_refused_before_any_of_it_is_read(full: Api) -> None:
    read: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            read.append(number)
            yield b" " * 10_000

    length = {"Content-Length": str(1_000_000)}
    assert_problem(await full.http.post("/v1/clients/batch", content=pieces(), headers=JSON | length), 503)
    assert read == []


async def test_long_answers_that_are_not_taken_in_leave_room_for_others(sqlite_api: Api) -> None:
    for _ in range(5):
        await sqlite_api.create_training(hyperparameters={f"k{number}": "x" * 1024 for number in range(256)})

    async def listed(http: httpx2.AsyncClient, limit: int) -> httpx2.Response:
        return await http.get("/v1/trainings", params={"limit": limit})

    assert len((await listed(sqlite_api.http, 5)).content) > SMALL_BYTES
    with sqlite_api.system.answer_memory.holding(HERE, LONG_ANSWERS_BYTES):
        refused = await listed(sqlite_api.http, 5)
        assert "ask for fewer items at a time (limit)" in assert_problem(refused, 503)["detail"]
        assert (await listed(sqlite_api.http, 1)).status_code == 200
        async with caller(sqlite_api.app, address=THERE, headers=AUTHORIZED) as elsewhere:
            assert (await listed(elsewhere, 5)).status_code == 200
    assert (await listed(sqlite_api.http, 5)).status_code == 200


async def test_uploads_that_drip_leave_room_for_those_from_elsewhere(sqlite_api: Api) -> None:
    path = f"/v1/trainings/{await sqlite_api.create_training()}/model"
    model = encode({"w": np.zeros(STREAMED_BYTES // 4, np.float32)})
    with ExitStack() as stack:
        for _ in range(UPLOADS_BYTES // STREAMED_BYTES + 1):
            held = stack.enter_context(sqlite_api.system.upload_memory.holding(HERE, STREAMED_BYTES))
            with suppress(NoMemoryFree):
                held.grow(STREAMED_BYTES)
        assert_problem(await sqlite_api.http.put(path, content=model), 503)
        async with caller(sqlite_api.app, address=THERE, headers=AUTHORIZED) as elsewhere:
            assert (await elsewhere.put(path, content=model)).status_code == 200
    assert (await sqlite_api.http.put(path, content=model)).status_code == 200


async def test_callers_with_keys_of_their_own_share_from_one_address(full: Api) -> None:
    made = await full.http.post("/v1/keys", json={"name": "ci", "role": "operator"})
    body = json.dumps({"clients": [profile(id="edge-1", data_distribution=[1] * 10_000)] * 60}).encode()
    assert len(body) > SMALL_BYTES
    assert_problem(await full.http.post("/v1/clients/batch", content=body, headers=JSON), 503)
    own = JSON | {"Authorization": f"Bearer {made.json()['key']}"}
    assert_problem(await full.anonymous.post("/v1/clients/batch", content=body, headers=own), 422, "/clients/1/id")
