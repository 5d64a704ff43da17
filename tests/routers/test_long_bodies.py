"""Bodies that are too large for what they are for, or too many at a time."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from app.memory import UNCOUNTED_BYTES, BodyMemory, NoMemoryFree
from tests.api import Api, assert_problem, profile

NAMES = [f"a-{number}" for number in range(50)]  # so many that a matrix may have hundreds of kilobytes
JSON = {"Content-Type": "application/json"}
BOUNDS = [
    ("POST", "/v1/clients", 1_000_000),
    ("PUT", "/v1/clients/edge-7", 1_000_000),
    ("PATCH", "/v1/clients/edge-7", 1_000_000),
    ("POST", "/v1/clients/batch", 16_000_000),
    ("POST", "/v1/clients/edge-7/heartbeat", 65_536),
    ("POST", "/v1/trainings", 524_288),
    ("POST", "/v1/selections", 2_000_000),
    ("PUT", "/v1/connectivity", 65_536 + 2 * 128 + 4 * 128),  # two clients are registered
    ("PATCH", "/v1/connectivity", 65_536 + 2 * 128 + 4 * 128),
    ("POST", "/v1/trainings/1/rounds", 65_536),  # which reads it for the Idempotency-Key alone
]


@pytest.mark.parametrize(("method", "path", "bound"), BOUNDS)
async def test_a_body_is_bounded_by_what_it_is_for(sqlite_api: Api, method: str, path: str, bound: int) -> None:
    await sqlite_api.register("edge-7", "edge-8")
    asked = 0

    async def chunks() -> Any:
        nonlocal asked
        while True:
            asked += 65_536
            yield b" " * 65_536

    headers = JSON | {"Idempotency-Key": "x"}
    refused = await sqlite_api.http.request(method, path, content=chunks(), headers=headers)
    assert assert_problem(refused, 413)["detail"] == f"the body may have at most {bound} bytes"
    assert asked <= bound + 2 * 65_536


CROWDS: list[tuple[str, str, Callable[[], Any]]] = [
    ("POST", "/v1/clients", lambda: profile(tags={str(number): "" for number in range(20_001)})),
    ("POST", "/v1/clients/edge-7/heartbeat", lambda: [[]] * 2_001),
    ("POST", "/v1/trainings", lambda: {"name": "x", "hyperparameters": {str(number): 1 for number in range(20_001)}}),
    ("POST", "/v1/selections", lambda: {str(number): [] for number in range(60_000)}),
]


@pytest.mark.parametrize(("method", "path", "body"), CROWDS)
async def test_a_body_of_more_elements_than_there_is_sense_in_is_refused_unparsed(
    sqlite_api: Api, method: str, path: str, body: Callable[[], Any]
) -> None:
    response = await sqlite_api.http.request(method, path, content=json.dumps(body()), headers=JSON)
    detail = assert_problem(response, 422, "")["detail"]
    found = re.search(r"should contain at most (\d+) lists, objects and elements, but has (\d+): shorten", detail)
    assert found is not None
    assert int(found[1]) < int(found[2])


def batch(*sizes: int) -> bytes:
    """Clients with so many labels each."""
    clients = [profile(id=f"edge-{number}", data_distribution=[1] * size) for number, size in enumerate(sizes)]
    return json.dumps({"clients": clients}).encode()


async def test_a_long_batch_is_registered_whole(api: Api) -> None:
    response = await api.http.post("/v1/clients/batch", content=batch(*[10] * 1000), headers=JSON)
    assert response.status_code == 201
    assert [client["id"] for client in response.json()["items"]] == [f"edge-{number}" for number in range(1000)]
    assert len((await api.stored())["clients"]) == 1000


LONG_BATCHES = [
    (batch(*[10_000] * 101), "/clients"),
    (batch(*[1] * 10_001), "/clients"),
    (batch(*[1] * 1000).replace(b'"data_size": 100', b'"data_size": 0', 1), "/clients/0/data_size"),
    (batch(*[1] * 1000).replace(b'"edge-999"', b'"edge-7"'), "/clients/999/id"),
    (batch(*[1] * 1000)[:-1] + b', "unknown": 1}', "/unknown"),
    (batch(*[1] * 1000)[:-1], ""),
    (b'{"clients": 7' + b" " * 65_536 + b"}", "/clients"),
    (b'{"clients": []' + b" " * 65_536 + b"}", "/clients"),
]


@pytest.mark.parametrize(("body", "pointer"), LONG_BATCHES, ids=[pointer for _, pointer in LONG_BATCHES])
async def test_a_long_batch_that_is_wrong_is_refused_whole(sqlite_api: Api, body: bytes, pointer: str) -> None:
    assert len(body) > 65_536
    assert_problem(await sqlite_api.http.post("/v1/clients/batch", content=body, headers=JSON), 422, pointer)
    assert (await sqlite_api.stored())["clients"] == []


def links(number: int, **last: Any) -> bytes:
    """So many links between the first two of `NAMES`, all the same but for the last one."""
    every = [{"source": "a-0", "target": "a-1", "cost": 0.5} for _ in range(number)]
    return json.dumps({"edges": [*every[:-1], every[-1] | last]}).encode()


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_long_list_of_links_is_taken_over_whole(sqlite_api: Api, method: str) -> None:
    await sqlite_api.register(*NAMES)
    changed = await sqlite_api.http.request(method, "/v1/connectivity", content=links(5000), headers=JSON)
    assert changed.status_code == 200, changed.text
    answer = (await sqlite_api.http.get("/v1/connectivity")).json()
    costs = dict(zip(answer["client_ids"], answer["costs"], strict=True))
    assert [cost for cost in costs["a-0"] if cost is not None] == [0, 0.5]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("last", "pointer"),
    [
        ({"cost": 0.25}, "/edges/4999/cost"),
        ({"target": "c"}, "/edges/4999/target"),
        ({"cost": -1}, "/edges/4999/cost"),
        ({"cost": "no"}, "/edges/4999/cost"),
    ],
)
async def test_a_link_that_is_wrong_is_named_in_a_long_list(
    sqlite_api: Api, method: str, last: dict[str, Any], pointer: str
) -> None:
    await sqlite_api.register(*NAMES)
    refused = await sqlite_api.http.request(method, "/v1/connectivity", content=links(5000, **last), headers=JSON)
    assert_problem(refused, 422, pointer)


@pytest.mark.parametrize(
    ("more", "pointer"),
    [(b', "costs": []}', "/costs"), (b', "client_ids": []}', "/client_ids"), (b', "edges": []}', "/edges")],
)
async def test_a_long_list_of_links_excludes_a_matrix(sqlite_api: Api, more: bytes, pointer: str) -> None:
    await sqlite_api.register(*NAMES)
    body = links(5000)[:-1] + more
    refused = await sqlite_api.http.put("/v1/connectivity", content=body, headers=JSON)
    assert_problem(refused, 422, pointer)


def test_bodies_have_a_room_together() -> None:
    memory = BodyMemory(10_000_000)
    with memory.holding("here", 10_000_000) as first, memory.holding("here", 10_000_000) as second:
        for held, size in ((first, 6_000_000), (second, 4_000_000)):
            held.grow(UNCOUNTED_BYTES)
            held.grow(size)
        with pytest.raises(NoMemoryFree, match="are using too much of the 10000000 bytes of memory for bodies"):
            second.grow(1)
    with memory.holding("here", 10_000_000) as third:
        third.grow(10_000_000)
