"""The matrix in its forms, and the topology, over HTTP."""

import asyncio
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tcsfeel.wire.codec import MEDIA_TYPE, decode, encode
from tests.api import Api, assert_problem

IDS = ["edge-7", "edge-8", "edge-9"]
COSTS = [[0.0, 0.5, None], [0.5, 0.0, 0.25], [None, 0.25, 0.0]]
MATRIX: dict[str, Any] = {"client_ids": IDS, "costs": COSTS}
BINARY = {"Content-Type": MEDIA_TYPE}


@pytest.fixture
async def fleet(api: Api) -> Api:
    await api.register(*IDS)
    return api


def file(costs: npt.NDArray[Any], client_ids: Any = IDS, name: str = "costs") -> bytes:
    return encode({name: costs}, {"client_ids": json.dumps(client_ids)})


def dense(*cells: tuple[int, int, float]) -> npt.NDArray[np.float32]:
    """A matrix of three clients with these links alone."""
    costs = np.full((3, 3), np.inf, np.float32)
    np.fill_diagonal(costs, 0)
    for row, column, cost in cells:
        costs[row, column] = costs[column, row] = cost
    return costs


async def matrix(api: Api) -> dict[str, Any]:
    body: dict[str, Any] = (await api.http.get("/v1/connectivity")).json()
    return {name: value for name, value in body.items() if name != "version"}


async def test_before_the_first_matrix_there_is_an_empty_one_of_version_0(api: Api) -> None:
    response = await api.http.get("/v1/connectivity")
    assert response.status_code == 200
    assert response.json() == {"version": 0, "client_ids": [], "costs": []}
    assert response.headers["ETag"] == '"0"'


async def test_a_matrix_comes_back_as_it_was_put(fleet: Api) -> None:
    response = await fleet.http.put("/v1/connectivity", json=MATRIX)
    assert (response.status_code, response.json(), response.headers["ETag"]) == (200, {"version": 1}, '"1"')
    answer = await fleet.http.get("/v1/connectivity")
    assert answer.json() == MATRIX | {"version": 1}
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["ETag"] == '"1"'


async def test_every_replacement_has_a_higher_version(fleet: Api) -> None:
    versions = [(await fleet.http.put("/v1/connectivity", json=MATRIX)).json()["version"] for _ in range(3)]
    assert versions == [1, 2, 3]


async def test_edges_are_put_for_all_the_registered_clients(fleet: Api) -> None:
    edges = [
        {"source": "edge-9", "target": "edge-8", "cost": 0.25},
        {"source": "edge-7", "target": "edge-8", "cost": 0.5},
    ]
    assert (await fleet.http.put("/v1/connectivity", json={"edges": edges})).status_code == 200
    assert await matrix(fleet) == MATRIX


async def test_a_safetensors_matrix_goes_in_and_comes_out(fleet: Api) -> None:
    costs = dense((0, 1, 0.5), (1, 2, 0.25))
    response = await fleet.http.put("/v1/connectivity", content=file(costs), headers=BINARY)
    assert (response.status_code, response.json()) == (200, {"version": 1})
    assert await matrix(fleet) == MATRIX
    answer = await fleet.http.get("/v1/connectivity", headers={"Accept": MEDIA_TYPE})
    assert (answer.headers["Content-Type"], answer.headers["ETag"]) == (MEDIA_TYPE, '"1"')
    tensors, metadata = decode(answer.content)
    assert tensors.keys() == {"costs"}
    np.testing.assert_array_equal(tensors["costs"], costs)
    assert tensors["costs"].dtype == np.float32
    assert metadata == {"client_ids": json.dumps(IDS), "version": "1"}
    again = await fleet.http.put("/v1/connectivity", content=answer.content, headers=BINARY)
    assert again.json() == {"version": 2}


async def test_a_link_that_costs_nothing_is_a_link(fleet: Api) -> None:
    costs = [[0.0, 0.0, None], [0.0, 0.0, None], [None, None, 0.0]]
    await fleet.http.put("/v1/connectivity", json=MATRIX | {"costs": costs})
    assert (await matrix(fleet))["costs"] == costs
    assert (await fleet.http.get("/v1/topology")).json()["num_edges"] == 1


PREFERENCES = [
    ("*/*", "application/json"),
    ("application/json", "application/json"),
    ("text/html", "application/json"),
    (MEDIA_TYPE, MEDIA_TYPE),
    (MEDIA_TYPE.upper(), MEDIA_TYPE),
    (f"{MEDIA_TYPE}, */*;q=0.1", MEDIA_TYPE),
    (f"application/json;q=0.5, {MEDIA_TYPE};q=0.75", MEDIA_TYPE),
    (f"application/json, {MEDIA_TYPE};q=0.9", "application/json"),
    (f"{MEDIA_TYPE};q=0", "application/json"),
    (f"{MEDIA_TYPE};q=x", MEDIA_TYPE),
    (";;,,q=1", "application/json"),
]


async def test_the_form_follows_accept(sqlite_api: Api) -> None:
    for accept, media_type in PREFERENCES:
        response = await sqlite_api.http.get("/v1/connectivity", headers={"Accept": accept})
        assert (response.status_code, response.headers["Content-Type"]) == (200, media_type), accept
        assert response.headers["Vary"] == "Accept"


async def test_patch_sets_and_removes_links_and_leaves_the_others(fleet: Api) -> None:
    await fleet.http.put("/v1/connectivity", json=MATRIX)
    edges = [
        {"source": "edge-8", "target": "edge-7", "cost": None},
        {"source": "edge-9", "target": "edge-7", "cost": 2.0},
    ]
    response = await fleet.http.patch("/v1/connectivity", json={"edges": edges})
    assert (response.status_code, response.json(), response.headers["ETag"]) == (200, {"version": 2}, '"2"')
    costs = [[0.0, None, 2.0], [None, 0.0, 0.25], [2.0, 0.25, 0.0]]
    assert (await fleet.http.get("/v1/connectivity")).json() == {"version": 2, "client_ids": IDS, "costs": costs}


async def test_patch_gives_a_client_that_registered_later_its_first_link(fleet: Api) -> None:
    await fleet.http.put("/v1/connectivity", json=MATRIX)
    await fleet.register("late")
    edges = [{"source": "late", "target": "edge-7", "cost": 1.0}]
    assert (await fleet.http.patch("/v1/connectivity", json={"edges": edges})).status_code == 200
    assert (await matrix(fleet))["client_ids"] == [*IDS, "late"]
    assert (await matrix(fleet))["costs"][3] == [1.0, None, None, 0.0]


async def test_patch_knows_no_client_that_was_removed(fleet: Api) -> None:
    await fleet.http.put("/v1/connectivity", json=MATRIX)
    await fleet.http.delete("/v1/clients/edge-8")
    edges = [{"source": "edge-7", "target": "edge-8", "cost": 1.0}]
    assert_problem(await fleet.http.patch("/v1/connectivity", json={"edges": edges}), 422, "/edges/0/target")
    edges = [{"source": "edge-7", "target": "edge-9", "cost": 1.0}]
    assert (await fleet.http.patch("/v1/connectivity", json={"edges": edges})).status_code == 200
    assert await matrix(fleet) == {"client_ids": ["edge-7", "edge-9"], "costs": [[0.0, 1.0], [1.0, 0.0]]}


async def test_changes_at_the_same_time_are_all_there_afterwards(fleet: Api) -> None:
    pairs = [("edge-7", "edge-8"), ("edge-8", "edge-9"), ("edge-7", "edge-9")]
    changes = [{"edges": [{"source": source, "target": target, "cost": 1.0}]} for source, target in pairs]
    await asyncio.gather(*(fleet.http.patch("/v1/connectivity", json=change) for change in changes))
    body = (await fleet.http.get("/v1/connectivity")).json()
    assert all(sorted(row) == [0.0, 1.0, 1.0] for row in body["costs"])
    assert body["version"] == 3


async def test_a_version_that_is_known_answers_304(fleet: Api) -> None:
    etag = (await fleet.http.put("/v1/connectivity", json=MATRIX)).headers["ETag"]
    for known in (etag, f"W/{etag}", f'"99", {etag}', "*"):
        response = await fleet.http.get("/v1/connectivity", headers={"If-None-Match": known})
        assert (response.status_code, response.content, response.headers["ETag"]) == (304, b"", etag)
    for other in ('"0"', '"11"', "1", '"1', ""):
        assert (await fleet.http.get("/v1/connectivity", headers={"If-None-Match": other})).status_code == 200
    await fleet.http.put("/v1/connectivity", json=MATRIX)
    assert (await fleet.http.get("/v1/connectivity", headers={"If-None-Match": etag})).status_code == 200


async def test_a_matrix_that_is_refused_leaves_the_one_before(fleet: Api) -> None:
    await fleet.http.put("/v1/connectivity", json=MATRIX)
    before = await fleet.stored()
    wrong = [[0.0, 0.5, None], [0.5, 0.0, 0.25], [None, 0.125, 0.0]]
    body = assert_problem(await fleet.http.put("/v1/connectivity", json=MATRIX | {"costs": wrong}), 422, "/costs/1/2")
    assert body["errors"][0]["detail"].startswith("the matrix must be symmetric: 0.25 here, 0.125 at /costs/2/1")
    assert await fleet.stored() == before


IMPOSSIBLE = [
    # a file, and what the refusal points at
    (b"", ""),
    (b"\x08\0\0\0\0\0\0\0{", ""),
    (b"\xff" * 64, ""),
    (file(dense())[:-1], ""),
    (file(dense()) + b"\0", ""),
    (file(dense(), name="matrix"), "/costs"),
    (file(dense().astype(np.float64)), "/costs"),
    (encode({"costs": dense(), "more": dense()}, {"client_ids": json.dumps(IDS)}), "/costs"),
    (file(dense()[:2]), "/costs"),
    (file(dense()[:, :2].copy()), "/costs/0"),
    (file(dense().reshape(9)), "/costs"),
    (file(dense()[None]), "/costs"),
    (file(dense((0, 1, np.nan))), "/costs/0/1"),
    (file(dense((0, 2, -1.0))), "/costs/0/2"),
    (file(dense((1, 1, 1.0))), "/costs/1/1"),
    (
        file(dense(), ["edge-7", "edge-8", "nobody"]),
        "/client_ids/2",
    ),
    (file(dense(), ["edge-7", "edge-8", "edge-7"]), "/client_ids/2"),
    (file(dense(), IDS[:2]), "/costs"),
    (file(dense(), "edge-7"), "/client_ids"),
    (file(dense(), [1, 2, 3]), "/client_ids"),
    (encode({"costs": dense()}, {"client_ids": "[[" * 5000}), "/client_ids"),
    (encode({"costs": dense()}, {"client_ids": "[" + "[]," * 15_000 + "[]]"}), "/client_ids"),
    (file(dense(), ["edge-7", "edge-8", "x" * 50_000]), "/client_ids"),
    (encode({"costs": dense()}, {}), "/client_ids"),
]


async def test_a_file_that_cannot_be_true_is_refused_whole(fleet: Api) -> None:
    before = await fleet.stored()
    for content, pointer in IMPOSSIBLE:
        assert_problem(await fleet.http.put("/v1/connectivity", content=content, headers=BINARY), 422, pointer)
        assert await fleet.stored() == before, content[:100]


async def test_an_asymmetric_file_is_refused_with_its_cell(sqlite_api: Api) -> None:
    await sqlite_api.register(*IDS)
    costs = dense((0, 1, 1.0))
    costs[1, 0] = 2.0
    body = assert_problem(
        await sqlite_api.http.put("/v1/connectivity", content=file(costs), headers=BINARY), 422, "/costs/0/1"
    )
    assert "1 here, 2 at /costs/1/0" in body["errors"][0]["detail"]


@pytest.mark.parametrize("media_type", ["text/csv", "application/octet-stream", "application/jsonx", ""])
async def test_a_body_of_another_kind_answers_415(sqlite_api: Api, media_type: str) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    content = json.dumps({"client_ids": [], "costs": []}).encode()
    response = await sqlite_api.http.put("/v1/connectivity", content=content, headers=headers)
    body = assert_problem(response, 415, "/header/content-type")
    assert body["errors"][0]["detail"] == f"should be application/json or {MEDIA_TYPE}"
    typed = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await sqlite_api.http.put("/v1/connectivity", content=content, headers=typed)).status_code == 200


async def test_the_topology_counts_clients_links_and_components(fleet: Api) -> None:
    await fleet.http.put("/v1/connectivity", json=MATRIX)
    await fleet.register("alone", bandwidth=80.0, latency=65.0, data_size=700, reliability=0.5)
    body = (await fleet.http.get("/v1/topology")).json()
    betweenness = body.pop("betweenness")
    assert body == {
        "num_clients": 4,
        "num_edges": 2,
        "avg_degree": 1.0,
        "components": 2,
        "bridges": 2,
        "avg_bandwidth": 50.0,
        "avg_latency": 35.0,
        "total_data": 1000,
        "avg_reliability": pytest.approx(0.8),
        "measured_links": [],
    }
    assert betweenness.keys() == {*IDS, "alone"}
    assert max(betweenness, key=betweenness.__getitem__) == "edge-8"


async def test_the_topology_of_no_clients_is_all_zero(sqlite_api: Api) -> None:
    body = (await sqlite_api.http.get("/v1/topology")).json()
    assert body == {
        "num_clients": 0,
        "num_edges": 0,
        "avg_degree": 0,
        "components": 0,
        "bridges": 0,
        "avg_bandwidth": 0,
        "avg_latency": 0,
        "total_data": 0,
        "avg_reliability": 0,
        "betweenness": {},
        "measured_links": [],
    }


async def test_the_topology_shows_claimed_costs_beside_measured_ones(fleet: Api) -> None:
    await fleet.http.put("/v1/connectivity", json=MATRIX)
    async with fleet.system.db.begin() as tx:
        await tx.links.observe("edge-8", {"edge-7": 0.2}, 1_700_000_000.0)
    shown = {
        "source": "edge-7",
        "target": "edge-8",
        "claimed": None,
        "measured": 0.2,
        "measurements": 1,
        "measured_at": "2023-11-14T22:13:20Z",
    }
    assert (await fleet.http.get("/v1/topology")).json()["measured_links"] == [shown]
