"""Registration over HTTP, and what is shown of clients."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from app.domain.clients import Client, Measured
from app.domain.rounds import Participation, next_round
from app.store import tables
from tests.api import NOW, Api, assert_problem, profile

FULL = profile(
    id="edge-7",
    data_distribution=[300.0, 20.0, 880.0],
    reliability=0.95,
    server_cost=0.25,
    tags={"site": "north"},
    auth_token="s3cr3t-of-edge-7",
    relay=False,
    elastic=True,
)
SHOWN: dict[str, Any] = {name: value for name, value in FULL.items() if name != "auth_token"} | {
    "status": "healthy",
    "breaker": "closed",
    "measured": {
        "reliability": None,
        "train_seconds": None,
        "bandwidth": None,
        "latency": None,
        "last_update_quality": None,
        "no_held_out_data_at": None,
        "relaying": None,
    },
    "failures": {
        "unreachable": 0,
        "faulty": 0,
        "last_unreachable": None,
        "last_faulty": None,
        "wrong_evaluations": 0,
    },
    "conflict": None,
    "unproven": None,
    "public_key": None,
    "enrolled_at": None,
    "invitation_id": None,
    "rounds_selected": 0,
    "rounds_completed": 0,
    "last_seen_at": None,
    "created_at": NOW,
    "updated_at": NOW,
}


def opened(api: Api, client: Client) -> str | None:
    """Decrypt the stored token of a client."""
    token = client.profile.auth_token
    return None if token is None else api.system.secret.decrypt(token)


async def test_registering_answers_201_with_the_client_and_its_location(api: Api) -> None:
    response = await api.http.post("/v1/clients", json=FULL)
    assert response.status_code == 201
    assert response.headers["Location"] == "/v1/clients/edge-7"
    assert response.json() == SHOWN
    assert (await api.http.get(response.headers["Location"])).json() == SHOWN


async def test_what_is_left_out_has_its_default(api: Api) -> None:
    response = await api.http.post("/v1/clients", json=profile())
    client = response.json()
    assert response.headers["Location"] == f"/v1/clients/{client['id']}"
    given = {name: client[name] for name in ("data_distribution", "reliability", "server_cost", "tags")}
    assert given == {"data_distribution": None, "reliability": 0.9, "server_cost": None, "tags": {}}
    assert client["id"] != (await api.http.post("/v1/clients", json=profile())).json()["id"]


async def test_a_taken_id_answers_409_and_leaves_its_client_alone(api: Api) -> None:
    await api.http.post("/v1/clients", json=FULL)
    before = await api.stored()
    body = assert_problem(await api.http.post("/v1/clients", json=profile(id="edge-7")), 409)
    assert body["type"] == "urn:tcsfeel:problem:already-exists"
    assert "'edge-7'" in body["detail"]
    assert await api.stored() == before


async def test_of_two_at_once_one_gets_the_id(api: Api) -> None:
    calls = [api.http.post("/v1/clients", json=profile(id="edge-7", data_size=n)) for n in range(1, 6)]
    answers = Counter(response.status_code for response in await asyncio.gather(*calls))
    assert answers == {201: 1, 409: 4}


async def test_put_registers_with_201_and_replaces_with_200(api: Api) -> None:
    first = await api.http.put("/v1/clients/edge-7", json=profile())
    assert (first.status_code, first.headers["Location"]) == (201, "/v1/clients/edge-7")
    api.clock.advance(60)
    again = await api.http.put("/v1/clients/edge-7", json=FULL)
    assert again.status_code == 200
    assert "Location" not in again.headers
    later = "1970-01-12T13:47:40Z"
    assert again.json() == SHOWN | {"updated_at": later, "last_seen_at": later}


async def test_put_keeps_what_was_measured_and_the_breaker(api: Api) -> None:
    await api.register("edge-7")
    await api.http.post("/v1/clients/edge-7/breaker/open")
    await api.http.post("/v1/clients/edge-7/heartbeat", json={"bandwidth": 8.0})
    client = (await api.http.put("/v1/clients/edge-7", json=profile())).json()
    assert (client["breaker"], client["measured"]["bandwidth"]) == ("open", 8.0)


async def test_a_batch_of_10_000_is_registered_in_one_call(api: Api) -> None:
    clients = [profile(id=f"edge-{number:05}") for number in range(10_000)]
    response = await api.http.post("/v1/clients/batch", json={"clients": clients})
    assert response.status_code == 201
    assert [client["id"] for client in response.json()["items"]] == [client["id"] for client in clients]
    assert (await api.http.get("/v1/topology")).json()["num_clients"] == 10_000


async def test_a_batch_with_an_id_that_is_taken_stores_nothing(api: Api) -> None:
    await api.register("edge-00500")
    before = await api.stored()
    clients = [profile(id=f"edge-{number:05}") for number in range(1_000)]
    body = assert_problem(await api.http.post("/v1/clients/batch", json={"clients": clients}), 409)
    assert "'edge-00500'" in body["detail"]
    assert await api.stored() == before


async def test_a_batch_with_an_id_that_comes_twice_stores_nothing(api: Api) -> None:
    before = await api.stored()
    clients = [profile(id=name) for name in ("a", "b", "a", "c", "b")]
    response = await api.http.post("/v1/clients/batch", json={"clients": clients})
    body = assert_problem(response, 422, "/clients/2/id", "/clients/4/id")
    assert [error["detail"] for error in body["errors"]] == [
        "is also the id of /clients/0",
        "is also the id of /clients/1",
    ]
    assert await api.stored() == before


async def test_pages_walk_every_client_once_and_end_with_null(api: Api) -> None:
    names = [f"edge-{number}" for number in range(6)]
    await api.register(*names)
    for limit, sizes in ((2, [2, 2, 2]), (4, [4, 2]), (6, [6]), (1000, [6])):
        pages: list[list[str]] = []
        cursor: str | None = None
        while cursor is not None or not pages:
            query = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
            body = (await api.http.get("/v1/clients", params=query)).json()
            assert body.keys() == {"items", "next_cursor"}
            pages.append([client["id"] for client in body["items"]])
            cursor = body["next_cursor"]
        assert [len(page) for page in pages] == sizes
        assert [name for page in pages for name in page] == names


async def test_a_page_has_a_hundred_items_unless_told_otherwise(sqlite_api: Api) -> None:
    await sqlite_api.register(*(f"edge-{number}" for number in range(101)))
    body = (await sqlite_api.http.get("/v1/clients")).json()
    assert len(body["items"]) == 100
    assert len((await sqlite_api.http.get("/v1/clients", params={"cursor": body["next_cursor"]})).json()["items"]) == 1


async def test_filters_by_status_and_by_every_tag(api: Api) -> None:
    await api.register("a", tags={"site": "north", "kind": "pi"})
    await api.register("b", tags={"site": "north"})
    await api.register("c", tags={"site": "south", "url": "http://x:1", 'q"': "'"})
    async with api.system.db.begin() as tx:
        await tx.clients.put(replace(await tx.clients.get("b"), status="down"))

    async def found(query: str) -> list[str]:
        return [client["id"] for client in (await api.http.get(f"/v1/clients?{query}")).json()["items"]]

    assert await found("tag=site:north") == ["a", "b"]
    assert await found("tag=site:north&tag=kind:pi") == ["a"]
    assert await found("tag=site:north&tag=site:south") == []
    assert await found("tag=url:http://x:1") == ["c"]
    assert await found("tag=q%22:'") == ["c"]
    assert await found("status=down") == ["b"]
    assert await found("status=healthy&tag=site:north") == ["a"]
    assert await found("status=suspect") == []
    assert await found("tag=site:north&limit=1") == ["a"]


async def test_a_filtered_list_is_walked_with_its_cursor(api: Api) -> None:
    await api.register("a", "c", tags={"site": "north"})
    await api.register("b")
    first = (await api.http.get("/v1/clients?tag=site:north&limit=1")).json()
    second = (await api.http.get(f"/v1/clients?tag=site:north&limit=1&cursor={first['next_cursor']}")).json()
    assert ([c["id"] for c in first["items"]], [c["id"] for c in second["items"]]) == (["a"], ["c"])
    assert second["next_cursor"] is None


async def test_patch_changes_what_was_sent_and_null_clears(api: Api) -> None:
    await api.http.post("/v1/clients", json=FULL)
    api.clock.advance(1)
    changes = {"bandwidth": 12.5, "tags": {"site": "south"}, "server_cost": None, "data_distribution": None}
    response = await api.http.patch("/v1/clients/edge-7", json=changes)
    assert response.status_code == 200
    assert response.json() == SHOWN | changes | {"updated_at": "1970-01-12T13:46:41Z"}
    assert (await api.http.get("/v1/clients/edge-7")).json() == response.json()
    async with api.system.db.read() as tx:
        assert opened(api, await tx.clients.get("edge-7")) == FULL["auth_token"]


async def test_patch_replaces_and_clears_the_token(api: Api) -> None:
    await api.http.post("/v1/clients", json=FULL)
    for token in ("another", None):
        assert (await api.http.patch("/v1/clients/edge-7", json={"auth_token": token})).status_code == 200
        async with api.system.db.read() as tx:
            assert opened(api, await tx.clients.get("edge-7")) == token


async def test_a_new_address_does_not_get_the_token_of_the_old_one(api: Api) -> None:
    await api.http.post("/v1/clients", json=FULL)
    was = FULL["url"]
    for url, token, kept in (
        ("http://10.0.0.7:9000/base", {}, "s3cr3t-of-edge-7"),
        ("http://10.0.0.8:9000", {"auth_token": "another"}, "another"),
        ("http://10.0.0.8:9001", {}, None),
    ):
        assert (await api.http.patch("/v1/clients/edge-7", json={"url": url} | token)).status_code == 200
        async with api.system.db.read() as tx:
            assert opened(api, await tx.clients.get("edge-7")) == kept
            events = (await tx.connection.execute(select(tables.events.c.data).order_by(tables.events.c.id))).scalars()
        data = list(events)[-1]
        named = sorted({"url", *token})
        assert data == {"fields": named, "url": url, "was": was, "token_forgotten": kept is None}
        was = url
    await api.http.put("/v1/clients/edge-7", json=FULL)
    await api.http.put("/v1/clients/edge-7", json=profile(url="http://10.0.0.9:9000"))
    async with api.system.db.read() as tx:
        assert (await tx.clients.get("edge-7")).profile.auth_token is None


async def test_patch_names_every_field_that_cannot_be_null(api: Api) -> None:
    await api.register("edge-7")
    before = await api.stored()
    nulls = dict.fromkeys(["data_size", "compute_capacity", "bandwidth", "latency", "reliability", "tags"])
    response = await api.http.patch("/v1/clients/edge-7", json=nulls)
    assert_problem(response, 422, *(f"/{name}" for name in sorted(nulls)))
    assert await api.stored() == before


async def test_removing_answers_204_and_leaves_the_history(api: Api) -> None:
    await api.register("edge-7", "edge-8")
    training_id = await api.create_training()
    async with api.system.db.begin() as tx:
        _, round_ = next_round(await tx.trainings.get(training_id), api.clock.now())
        round_ = replace(round_, status="completed", participations=(Participation(client_id="edge-7"),))
        await tx.rounds.add(round_)
        await tx.rounds.add_participations(round_)
    response = await api.http.delete("/v1/clients/edge-7")
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await api.http.get("/v1/clients/edge-7"), 404)
    assert_problem(await api.http.delete("/v1/clients/edge-7"), 404)
    assert [client["id"] for client in (await api.http.get("/v1/clients")).json()["items"]] == ["edge-8"]
    history = (await api.http.get(f"/v1/trainings/{training_id}/rounds/1")).json()
    assert history["selected_clients"] == ["edge-7"]
    assert [event[2] for event in (await api.stored())["events"]][-1] == "client.removed"


async def test_what_was_measured_is_shown_beside_what_was_claimed(sqlite_api: Api) -> None:
    await sqlite_api.http.post("/v1/clients", json=FULL)
    measured = {"reliability": 0.5, "train_seconds": 2.0, "bandwidth": 9.0, "latency": 1.0, "last_update_quality": 0.75}
    async with sqlite_api.system.db.begin() as tx:
        client = await tx.clients.get("edge-7")
        known = Measured(**measured, no_held_out_data_at=sqlite_api.clock.now(), relaying=0.25)
        await tx.clients.put(replace(client, measured=known, rounds_selected=3, rounds_completed=2))
    client_shown = (await sqlite_api.http.get("/v1/clients/edge-7")).json()
    assert client_shown == SHOWN | {
        "measured": measured | {"no_held_out_data_at": NOW, "relaying": 0.25},
        "rounds_selected": 3,
        "rounds_completed": 2,
    }


OF_A_CLIENT = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/heartbeat"),
    ("GET", "/breaker"),
    ("POST", "/breaker/reset"),
    ("POST", "/breaker/open"),
]


async def test_a_client_that_is_not_there_answers_404(sqlite_api: Api) -> None:
    for method, path in OF_A_CLIENT:
        body: dict[str, Any] = {"json": {}} if method == "PATCH" or path == "/heartbeat" else {}
        response = await sqlite_api.http.request(method, f"/v1/clients/nobody{path}", **body)
        assert "'nobody'" in assert_problem(response, 404)["detail"]
