"""``/v1/keys``: keys are made, listed, rotated and revoked over the API."""

import re
from typing import Any

import httpx2
import pytest

from tests.api import KEY, Api, assert_problem, caller

TEXT = re.compile(r"tcsfeel_(viewer|operator|admin|agent)_[0-9a-f]{12}_[0-9a-f]{48}")


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    response = await api.http.post("/v1/keys", json={"name": "ci", "role": "operator"} | fields)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


def using(api: Api, key: dict[str, Any]) -> httpx2.AsyncClient:
    return caller(api.app, headers={"Authorization": f"Bearer {key['key']}"})


async def test_a_new_key_is_shown_once_and_not_to_be_stored(api: Api) -> None:
    response = await api.http.post("/v1/keys", json={"name": "ci", "role": "operator", "lifetime_seconds": 60})
    new = response.json()
    text = new.pop("key")
    assert TEXT.fullmatch(text)
    assert response.headers["Location"] == f"/v1/keys/{new['id']}"
    assert response.headers["Cache-Control"] == "no-store"
    assert new == {
        "id": new["id"],
        "name": "ci",
        "role": "operator",
        "client_id": None,
        "state": "valid",
        "created_at": "1970-01-12T13:46:40Z",
        "created_by": "admin key",
        "expires_at": "1970-01-12T13:47:40Z",
        "revoked_at": None,
        "last_used_at": None,
        "replaces": None,
    }
    assert (await api.http.get(f"/v1/keys/{new['id']}")).json() == new
    listed = await api.http.get("/v1/keys")
    assert listed.json() == {"items": [new], "next_cursor": None}
    assert text not in str(await api.stored())


async def test_a_key_opens_what_its_role_allows_until_it_is_revoked(api: Api) -> None:
    key = await made(api, role="viewer")
    async with using(api, key) as http:
        assert (await http.get("/v1/clients")).status_code == 200
        refusal = assert_problem(await http.post("/v1/trainings", json={"name": "digits"}), 403)
        assert refusal["type"] == "urn:tcsfeel:problem:forbidden"
        assert refusal["detail"] == "this key has the role viewer, and this call needs the role operator"
        assert_problem(await http.get("/v1/keys"), 403)
        assert (await api.http.delete(f"/v1/keys/{key['id']}")).status_code == 204
        refused = await http.get("/v1/clients")
        assert "was revoked" in assert_problem(refused, 401)["detail"]
        assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert (await api.http.get(f"/v1/keys/{key['id']}")).json()["state"] == "revoked"


async def test_a_key_expires(sqlite_api: Api) -> None:
    key = await made(sqlite_api, lifetime_seconds=60)
    async with using(sqlite_api, key) as http:
        assert (await http.get("/v1/clients")).status_code == 200
        sqlite_api.clock.advance(60)
        assert "has expired" in assert_problem(await http.get("/v1/clients"), 401)["detail"]
    assert (await sqlite_api.http.get(f"/v1/keys/{key['id']}")).json()["state"] == "expired"


async def test_a_rotated_key_and_the_new_one_are_valid_together(api: Api) -> None:
    old = await made(api)
    response = await api.http.post(f"/v1/keys/{old['id']}/rotate", json={"grace_seconds": 60})
    new = response.json()
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    assert (new["replaces"], new["name"], new["role"], new["expires_at"]) == (old["id"], "ci", "operator", None)
    async with using(api, old) as before, using(api, new) as after:
        assert [(await http.get("/v1/clients")).status_code for http in (before, after)] == [200, 200]
        api.clock.advance(60)
        assert [(await http.get("/v1/clients")).status_code for http in (before, after)] == [401, 200]
    assert_problem(await api.http.post(f"/v1/keys/{old['id']}/rotate"), 409)
    assert (await api.http.post(f"/v1/keys/{new['id']}/rotate")).status_code == 201  # without a body: a day


async def test_the_list_has_pages_and_conditions(api: Api) -> None:
    keys = []
    for number in range(3):
        keys.append(await made(api, name=f"ci {number}"))
        api.clock.advance(1)
    agent = await made(api, name="edge-7", role="agent", client_id="edge-7")
    await api.http.delete(f"/v1/keys/{keys[0]['id']}")

    async def listed(query: str) -> list[str]:
        answer = (await api.http.get(f"/v1/keys?{query}")).json()
        return [item["name"] for item in answer["items"]]

    assert await listed("") == ["edge-7", "ci 2", "ci 1", "ci 0"]
    assert await listed("role=operator&state=valid") == ["ci 2", "ci 1"]
    assert await listed("state=revoked") == ["ci 0"]
    assert await listed("client_id=edge-7") == [agent["name"]]
    first = (await api.http.get("/v1/keys?limit=2")).json()
    assert [item["name"] for item in first["items"]] == ["edge-7", "ci 2"]
    assert await listed(f"limit=2&cursor={first['next_cursor']}") == ["ci 1", "ci 0"]


async def test_a_key_that_does_not_exist_is_not_found(sqlite_api: Api) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        assert_problem(await sqlite_api.http.request(method, f"/v1/keys/{'0' * 12}{path}"), 404)


async def test_events_name_the_key_that_acted(api: Api) -> None:
    key = await made(api, name="ci of the team")
    async with using(api, key) as http:
        created = await http.post("/v1/trainings", json={"name": "digits"})
        assert created.status_code == 201
    async with api.system.db.read() as tx:
        events = (await tx.events.after(0, limit=10)).items
    assert [(one.type, one.actor) for one in events] == [
        ("key.created", "admin key"),
        ("training.created", "ci of the team"),
    ]


async def test_nobody_takes_the_name_of_another_caller_in_the_log(sqlite_api: Api) -> None:
    for name in ("admin key", "agent", "local caller", "server"):
        assert_problem(await sqlite_api.http.post("/v1/keys", json={"name": name, "role": "viewer"}), 422, "/name")


async def test_the_admin_key_is_no_key_of_the_list(sqlite_api: Api) -> None:
    assert (await sqlite_api.http.get("/v1/keys")).json()["items"] == []
    assert KEY not in str(await sqlite_api.stored())


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
async def test_a_caller_is_told_whose_key_it_uses(api: Api, role: str) -> None:
    key = await made(api, name="anna", role=role)
    async with using(api, key) as http:
        assert (await http.get("/v1/caller")).json() == {"name": "anna", "role": role, "key_id": key["id"]}


async def test_the_admin_key_has_no_id_and_a_device_is_no_caller_to_tell(api: Api) -> None:
    assert (await api.http.get("/v1/caller")).json() == {"name": "admin key", "role": "admin", "key_id": None}
    key = await made(api, role="agent", client_id="edge-7")
    async with using(api, key) as http:
        assert_problem(await http.get("/v1/caller"), 403)
