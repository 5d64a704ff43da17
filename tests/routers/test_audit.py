"""Each call that changes something or is refused is in the audit trail; what is in it, and how it is read."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.audit import KINDS, KINDS_OF_ACTOR, MERGED_OF_ACTOR, Call
from app.http.auditing import CHANGE_NOTHING, RECORDED_READS
from app.services.access.audit import MOST_WAITING
from tcsfeel.audit import GENESIS, Chain
from tests.api import Api, assert_problem, caller, profile, running_api
from tests.routers.samples import MODEL

STILL: Any = {"coordinator": {"enabled": False}}  # so that nothing moves the clock but the test
ADMIN = {"actor": "admin key", "role": "admin", "key_id": None, "address": "127.0.0.1"}
NOBODY: dict[str, Any] = {"actor": "unknown caller", "role": None, "key_id": None, "parameters": {}}


@pytest.fixture
async def api(tmp_path: Path, database_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", database_url, **STILL) as running:
        yield running


@pytest.fixture
async def sqlite_api(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", sqlite_url, **STILL) as running:
        yield running


async def records(api: Api, **params: Any) -> list[dict[str, Any]]:
    """Every record of the calls of this process, page by page. They have to be a chain if all are read."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await api.http.get("/v1/audit", params={"limit": 3, **params, **cursor})
        assert page.status_code == 200, page.text
        found += page.json()["items"]
        if page.json()["next_cursor"] is None:
            break
        cursor = {"cursor": page.json()["next_cursor"]}
    if not params:
        check(found)
    return [record for record in found if record["role"] != "server"]


def check(found: Iterable[Any]) -> Chain:
    chain = Chain()
    for record in found:
        chain.check(record)
    return chain


def brief(found: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return [(record["operation"], record["status"], record["count"]) for record in found]


async def test_a_change_is_recorded_with_who_made_it_from_where_and_how_it_was_answered(api: Api) -> None:
    told = {"X-Request-ID": "ticket-7"}
    await api.http.put("/v1/clients/edge-7", json={k: v for k, v in profile().items() if k != "id"}, headers=told)
    await api.http.delete("/v1/clients/edge-7")
    first, second = await records(api)
    assert first.items() >= (ADMIN | {"request_id": "ticket-7", "count": 1}).items()
    assert (first["operation"], first["parameters"], first["status"]) == (
        "PUT /v1/clients/{client_id}", {"client_id": "edge-7"}, 201,
    )  # fmt: skip
    assert (second["operation"], second["status"]) == ("DELETE /v1/clients/{client_id}", 204)
    assert second["sequence"] == first["sequence"] + 1
    assert second["previous"] == first["hash"]


async def test_a_record_has_neither_body_nor_query_nor_key(sqlite_api: Api) -> None:
    secret = "a-token-of-the-agent"
    await sqlite_api.http.post("/v1/clients", json=profile() | {"auth_token": secret}, params={"odd": secret})
    await sqlite_api.http.post("/v1/clients", json=profile() | {"auth_token": secret})
    page = await sqlite_api.http.get("/v1/audit")
    assert len(page.json()["items"]) >= 2
    assert secret not in page.text
    assert sqlite_api.http.headers["Authorization"].removeprefix("Bearer ") not in page.text


async def test_a_refused_caller_is_recorded_without_what_it_invents(sqlite_api: Api) -> None:
    for _ in range(5):
        assert_problem(await sqlite_api.anonymous.get("/v1/clients/invented-1"), 401)
        assert_problem(await sqlite_api.anonymous.get("/v1/clients/invented-2"), 401)
    (first,) = await records(sqlite_api)
    assert first.items() >= (NOBODY | {"operation": "GET /v1/clients/{client_id}", "status": 401, "count": 1}).items()
    sqlite_api.clock.advance(60.0)
    once, repeated = await records(sqlite_api)
    assert once == first
    assert repeated.items() >= (NOBODY | {"status": 401, "count": 9, "request_id": None}).items()


async def test_a_flood_of_refusals_makes_few_records(sqlite_api: Api) -> None:
    kinds = KINDS_OF_ACTOR + MERGED_OF_ACTOR
    addresses = [f"10.0.0.{number}" for number in range(kinds + KINDS_OF_ACTOR)]
    for address in addresses:
        async with caller(sqlite_api.app, address=address) as http:
            assert [(await http.get("/v1/clients")).status_code for _ in range(2)] == [401, 401]
    sqlite_api.clock.advance(60.0)
    found = await records(sqlite_api)
    assert len(found) == 2 * (kinds + 1)
    assert sum(record["count"] for record in found) == 2 * len(addresses)
    assert {record["address"] for record in found} == {*addresses[: kinds + 1], "several"}


async def test_a_caller_whose_role_is_too_small_is_recorded_with_its_key(sqlite_api: Api) -> None:
    made = await sqlite_api.system.keys.create(name="anna", role="viewer")
    bearer = {"Authorization": f"Bearer {made.text}"}
    for path in ("/v1/clients/edge-1", "/v1/clients/edge-2", "/v1/clients/edge-1"):
        assert_problem(await sqlite_api.anonymous.delete(path, headers=bearer), 403)
    assert_problem(await sqlite_api.anonymous.get("/v1/audit", headers=bearer), 403)
    found = await records(sqlite_api)
    who = {"actor": "anna", "role": "viewer", "key_id": made.key.id, "status": 403}
    assert [record.items() >= who.items() for record in found] == [True] * 3
    assert [record["parameters"].get("client_id") for record in found] == ["edge-1", "edge-2", None]
    assert made.text not in str(found)


async def test_keys_and_invitations_are_recorded_without_their_secrets(sqlite_api: Api) -> None:
    key = (await sqlite_api.http.post("/v1/keys", json={"name": "ci", "role": "viewer"})).json()
    await sqlite_api.http.delete(f"/v1/keys/{key['id']}")
    invitation = (await sqlite_api.http.post("/v1/invitations", json={})).json()
    wrong = {"Authorization": f"Bearer {invitation['secret'][:-4]}0000"}
    assert_problem(await sqlite_api.anonymous.post("/v1/enrolments", json={}, headers=wrong), 401)
    right = {"Authorization": f"Bearer {invitation['secret']}"}
    assert (await sqlite_api.anonymous.post("/v1/enrolments", json={}, headers=right)).status_code == 422
    found = await records(sqlite_api)
    assert [(record["actor"], record["operation"], record["status"]) for record in found] == [
        ("admin key", "POST /v1/keys", 201),
        ("admin key", "DELETE /v1/keys/{key_id}", 204),
        ("admin key", "POST /v1/invitations", 201),
        ("unknown caller", "POST /v1/enrolments", 401),
        (f"invitation {invitation['id']}", "POST /v1/enrolments", 422),
    ]
    assert [record["parameters"] for record in found[:3]] == [
        {"location": f"/v1/keys/{key['id']}"},
        {"key_id": key["id"]},
        {"location": f"/v1/invitations/{invitation['id']}"},
    ]
    assert key["key"] not in str(found)
    assert invitation["secret"] not in str(found)


async def test_changes_that_fail_are_counted_and_downloads_of_models_too(sqlite_api: Api, training: str) -> None:
    for _ in range(3):
        assert (await sqlite_api.http.delete("/v1/clients/nobody")).status_code == 404
        assert (await sqlite_api.http.get(f"/v1/trainings/{training}/model")).content == MODEL
    sqlite_api.clock.advance(60.0)
    model, gone = "GET /v1/trainings/{training_id}/model", "DELETE /v1/clients/{client_id}"
    found = await records(sqlite_api)
    assert sorted(brief(found)[2:]) == [(gone, 404, 1), (gone, 404, 2), (model, 200, 1), (model, 200, 2)]
    assert {record["parameters"].get("training_id") for record in found if record["operation"] == model} == {training}


async def test_no_flood_of_refusals_hides_a_download(sqlite_api: Api, training: str) -> None:
    made = await sqlite_api.system.keys.create(name="anna", role="viewer")
    bearer = {"Authorization": f"Bearer {made.text}"}
    for number in range(KINDS_OF_ACTOR + 3):
        assert_problem(await sqlite_api.anonymous.delete(f"/v1/clients/x{number}", headers=bearer), 403)
    for number in range(KINDS):
        sqlite_api.system.audit.count(Call(actor=f"actor {number}", operation="GET /v1/keys", status=403))
    for _ in range(2):
        assert (await sqlite_api.anonymous.get(f"/v1/trainings/{training}/model", headers=bearer)).content == MODEL
    sqlite_api.clock.advance(60.0)
    of_anna = await records(sqlite_api, actor="anna")
    assert {(one["role"], one["key_id"], one["address"]) for one in of_anna} == {("viewer", made.key.id, "127.0.0.1")}
    downloads = [record for record in of_anna if record["operation"] == "GET /v1/trainings/{training_id}/model"]
    assert [(one["parameters"], one["count"]) for one in downloads] == [({"training_id": training}, 1)] * 2
    assert [record["count"] for record in of_anna if record["operation"] == "several"] == [1, 2]


async def test_without_a_place_for_its_record_no_model_is_downloaded(sqlite_api: Api, training: str) -> None:
    await sqlite_api.system.audit.write()
    for _ in range(MOST_WAITING):
        sqlite_api.system.audit.take_place()
    path = f"/v1/trainings/{training}/model"
    assert assert_problem(await sqlite_api.http.get(path), 503)["type"].endswith(":audit-unavailable")
    sqlite_api.system.audit.give_back_place()
    assert (await sqlite_api.http.get(path)).content == MODEL


async def test_a_name_from_outside_is_bounded_and_escaped(sqlite_api: Api) -> None:
    for name in ("%1b%5b31m%00%e2%80%ae", "x" * 5_000):
        await sqlite_api.http.delete(f"/v1/clients/{name}")
    escaped, cut = [record["parameters"]["client_id"] for record in await records(sqlite_api)]
    assert escaped == r"\x1b[31m\x00\u202e"
    assert cut == "x" * 63 + "…"


async def test_the_trail_is_filtered(api: Api) -> None:
    await api.register("a", "b")
    await api.http.delete("/v1/clients/nobody")
    await api.anonymous.get("/v1/trainings")
    registered, missing, unknown = await records(api)
    assert await records(api, actor="admin key") == [registered, missing]
    assert await records(api, actor="nobody at all") == []
    assert await records(api, operation="GET /v1/trainings") == [unknown]
    assert await records(api, result="refused") == [missing, unknown]
    assert registered in await records(api, result="done")
    assert await records(api, result="failed") == []
    assert unknown in await records(api, since=unknown["at"])
    later = (datetime.fromisoformat(unknown["at"]) + timedelta(seconds=100)).isoformat()
    assert await records(api, since=later) == []
    assert await records(api, until=later, result="refused") == [missing, unknown]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("result", "good"), ("since", "yesterday"), ("since", "2026-11-30T00:00:00"), ("until", "0.5"),
        ("since", "1700000000"), ("limit", "0"), ("actor", "x" * 129), ("cursor", "abc"),
        ("cursor", "WyJhIl0"), ("cursor", "WzFd"),
    ],
)  # fmt: skip
async def test_a_wrong_filter_is_refused(sqlite_api: Api, name: str, value: str) -> None:
    assert_problem(await sqlite_api.http.get("/v1/audit", params={name: value}), 422, f"/query/{name}")


async def test_the_head_is_that_of_the_newest_record(sqlite_api: Api) -> None:
    empty = (await sqlite_api.http.get("/v1/audit/head")).json()
    await sqlite_api.register("a")
    head = (await sqlite_api.http.get("/v1/audit/head")).json()
    page = (await sqlite_api.http.get("/v1/audit")).json()["items"]
    assert head == {name: page[-1][name] for name in ("sequence", "hash", "at")}
    assert check(page).head == head["hash"]
    assert empty["hash"] != head["hash"]
    assert page[0]["previous"] == GENESIS


async def test_without_a_place_for_its_record_nothing_is_changed(sqlite_api: Api) -> None:
    await sqlite_api.system.audit.write()
    for _ in range(MOST_WAITING):
        sqlite_api.system.audit.take_place()
    problem = assert_problem(await sqlite_api.http.post("/v1/clients", json=profile()), 503)
    assert problem["type"].endswith(":audit-unavailable")
    assert (await sqlite_api.http.get("/v1/clients")).json()["items"] == []
    assert_problem(await sqlite_api.anonymous.post("/v1/clients", json=profile()), 401)
    for _ in range(MOST_WAITING):
        sqlite_api.system.audit.give_back_place()
    assert (await sqlite_api.http.post("/v1/clients", json=profile())).status_code == 201
    assert brief(await records(sqlite_api))[-1] == ("POST /v1/clients", 201, 1)


async def test_calls_that_are_refused_late_give_their_places_back(sqlite_api: Api) -> None:
    wrong = [sqlite_api.http.post("/v1/clients", json={}) for _ in range(40)]
    assert {response.status_code for response in await asyncio.gather(*wrong)} == {422}
    for _ in range(MOST_WAITING - 5):
        sqlite_api.system.audit.take_place()
    assert not sqlite_api.system.audit.is_full


@pytest.fixture
async def restarted(tmp_path: Path, sqlite_url: str) -> AsyncIterator[list[Api]]:
    """Two servers, one after the other, on the same database."""
    found = []
    for number in range(2):
        async with running_api(tmp_path / "data", sqlite_url, **STILL) as api:
            found.append(api)
            await api.http.post("/v1/clients", json=profile() | {"id": f"c-{number}"})
            await api.anonymous.get("/v1/clients")
            await api.anonymous.get("/v1/clients")
            if number:
                yield found


async def test_the_trail_goes_on_over_a_restart_and_shows_it(restarted: list[Api]) -> None:
    page = (await restarted[1].http.get("/v1/audit", params={"limit": 1000})).json()["items"]
    check(page)
    names = [api.system.name for api in restarted]
    assert [(record["actor"], record["operation"], record["count"]) for record in page] == [
        (names[0], "start", 1),
        ("admin key", "POST /v1/clients", 1),
        ("unknown caller", "GET /v1/clients", 1),
        ("unknown caller", "GET /v1/clients", 1),
        (names[0], "stop", 1),
        (names[1], "start", 1),
        ("admin key", "POST /v1/clients", 1),
        ("unknown caller", "GET /v1/clients", 1),
    ]


def test_the_operations_that_are_excepted_exist(sqlite_api: Api) -> None:
    known = {
        f"{method.upper()} {path}" for path, methods in sqlite_api.app.openapi()["paths"].items() for method in methods
    }
    assert known >= CHANGE_NOTHING | RECORDED_READS
