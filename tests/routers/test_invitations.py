"""``/v1/invitations`` and ``/v1/enrolments``: devices get keys of their own, and strangers get nothing."""

import base64
from typing import Any

import httpx2
import pytest

from tcsfeel.identity import Identity
from tcsfeel.wire.enrolment import invitation_of, invitation_secret
from tests.api import Api, assert_problem, profile
from tests.routers.bad_input.invitations import PROOFS, PUBLIC_KEYS
from tests.services.access.devices import proof

NORTH = {"uses": 3, "expires_in_seconds": 3600, "id_pattern": "edge-*", "tags": {"site": "north"}, "name": "north"}


async def invited(api: Api, **fields: Any) -> dict[str, Any]:
    response = await api.http.post("/v1/invitations", json=fields)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


def request(secret: str, device: Identity, client_id: str | None) -> dict[str, Any]:
    signature = proof(device, invitation_of(secret) or "", client_id)
    body = {"public_key": device.public_key, "proof": base64.urlsafe_b64encode(signature).decode().rstrip("=")}
    return body if client_id is None else body | {"client_id": client_id}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def enrol(api: Api, secret: str, device: Identity, client_id: str | None = "edge-7") -> httpx2.Response:
    body = request(secret, device, client_id)
    return await api.anonymous.post("/v1/enrolments", json=body, headers=bearer(secret))


async def test_an_invitation_is_shown_with_its_secret_once(api: Api) -> None:
    response = await api.http.post("/v1/invitations", json=NORTH)
    made = response.json()
    secret = made.pop("secret")
    assert response.headers["Location"] == f"/v1/invitations/{made['id']}"
    assert invitation_of(secret) == made["id"]
    assert made == {
        "id": made["id"],
        "name": "north",
        "state": "open",
        "uses": 3,
        "used": 0,
        "uses_left": 3,
        "id_pattern": "edge-*",
        "tags": {"site": "north"},
        "replaces": None,
        "created_at": "1970-01-12T13:46:40Z",
        "expires_at": "1970-01-12T14:46:40Z",
        "revoked_at": None,
    }
    one = await api.http.get(f"/v1/invitations/{made['id']}")
    listed = await api.http.get("/v1/invitations")
    assert (one.json(), listed.json()) == (made, {"items": [made], "next_cursor": None})
    assert secret not in one.text + listed.text
    assert secret not in str(await api.stored())


async def test_an_invitation_has_defaults(sqlite_api: Api) -> None:
    made = await invited(sqlite_api)
    assert (made["uses"], made["id_pattern"], made["tags"], made["name"]) == (1, None, {}, None)
    assert (made["created_at"], made["expires_at"]) == ("1970-01-12T13:46:40Z", "1970-01-13T13:46:40Z")


async def test_a_device_enrols_registers_and_sends_heartbeats_with_its_own_key(api: Api) -> None:
    made, device = await invited(api, **NORTH), Identity.make()
    response = await enrol(api, made["secret"], device)
    assert response.status_code == 201, response.text
    got = response.json()
    assert got == {
        "client_id": "edge-7",
        "key": got["key"],
        "key_id": got["key"].split("_")[2],
        "tags": {"site": "north"},
        "server_public_key": Identity(api.system.secret.derive("signing")).public_key,
    }
    own = bearer(got["key"])
    put = await api.anonymous.put("/v1/clients/edge-7", json=profile(tags={"site": "south", "x": "y"}), headers=own)
    assert put.status_code == 201, put.text
    client = put.json()
    assert client["tags"] == {"site": "north", "x": "y"}
    assert (client["public_key"], client["invitation_id"]) == (device.public_key, made["id"])
    assert client["enrolled_at"] == "1970-01-12T13:46:40Z"
    assert (await api.anonymous.post("/v1/clients/edge-7/heartbeat", headers=own)).status_code == 204
    assert (await api.anonymous.get("/v1/clients/edge-7", headers=own)).json()["public_key"] == device.public_key
    for path in ("/v1/clients/edge-8", "/v1/clients", "/v1/invitations", "/v1/trainings"):
        assert_problem(await api.anonymous.get(path, headers=own), 403)
    assert_problem(await api.anonymous.put("/v1/clients/edge-8", json=profile(), headers=own), 403)
    enrolments = (await api.http.get(f"/v1/invitations/{made['id']}/enrolments")).json()
    assert enrolments == {
        "items": [
            {
                "client_id": "edge-7",
                "public_key": device.public_key,
                "invitation_id": made["id"],
                "key_id": got["key_id"],
                "enrolled_at": "1970-01-12T13:46:40Z",
            }
        ],
        "next_cursor": None,
    }
    shown = (await api.http.get(f"/v1/invitations/{made['id']}")).json()
    assert (shown["used"], shown["uses_left"]) == (1, 2)


async def test_the_actor_of_an_enrolment_is_its_invitation(api: Api) -> None:
    made = await invited(api)
    assert (await enrol(api, made["secret"], Identity.make())).status_code == 201
    async with api.system.db.read() as tx:
        found = [(one.type, one.actor) for one in (await tx.events.after(0, limit=100)).items]
    actor = f"invitation {made['id']}"
    assert found == [("invitation.created", "admin key"), ("key.created", actor), ("client.enrolled", actor)]


@pytest.mark.parametrize("asked", ["edge-7", None])
async def test_the_audit_record_of_an_enrolment_names_the_client_and_its_key(api: Api, asked: str | None) -> None:
    made = await invited(api)
    got = (await enrol(api, made["secret"], Identity.make(), asked)).json()
    query = {"operation": "POST /v1/enrolments"}
    (record,) = (await api.http.get("/v1/audit", params=query)).json()["items"]
    assert record["actor"] == f"invitation {made['id']}"
    assert record["parameters"] == {"client_id": got["client_id"], "key_id": got["key_id"]}
    assert got["key"] not in str(record)


async def test_a_stranger_gets_one_answer_whatever_the_invitation_is(api: Api) -> None:
    invitations = [await invited(api, expires_in_seconds=seconds) for seconds in (1, 3600, 3600, 3600)]
    expired, revoked, used, open_ = invitations
    assert (await enrol(api, used["secret"], Identity.make())).status_code == 201
    assert (await api.http.delete(f"/v1/invitations/{revoked['id']}")).status_code == 204
    api.clock.advance(2)
    answers = set()
    for known in (expired["id"], revoked["id"], used["id"], open_["id"], "0" * 16):
        secret = invitation_secret(known, "ab" * 32)
        response = await enrol(api, secret, Identity.make(), "edge-8")
        assert_problem(response, 401)
        assert response.headers["WWW-Authenticate"] == "Bearer"
        answers.add(response.text)
    for headers in ({}, bearer("x"), {"Authorization": f"Basic {open_['secret']}"}):
        answers.add((await api.anonymous.post("/v1/enrolments", json={}, headers=headers)).text)
    assert len(answers) == 1
    for one, words in ((expired, "has expired"), (revoked, "has been revoked"), (used, "has been used up")):
        told = assert_problem(await enrol(api, one["secret"], Identity.make(), "edge-8"), 410)
        assert told["type"].endswith("invitation-over")
        assert words in told["detail"]


async def test_a_key_is_no_invitation_and_an_invitation_is_no_key(sqlite_api: Api) -> None:
    made = await invited(sqlite_api)
    assert_problem(await sqlite_api.http.post("/v1/enrolments", json={}), 401)
    assert_problem(await sqlite_api.anonymous.get("/v1/clients", headers=bearer(made["secret"])), 401)


async def test_conflicts_say_what_to_do(sqlite_api: Api) -> None:
    made, device = await invited(sqlite_api, uses=5), Identity.make()
    await enrol(sqlite_api, made["secret"], device)
    told = assert_problem(await enrol(sqlite_api, made["secret"], Identity.make()), 409)
    assert told["type"].endswith("cannot-enrol")
    assert "POST /v1/clients/edge-7/replacement" in told["detail"]
    assert_problem(await enrol(sqlite_api, made["secret"], device, "edge-8"), 409)
    again = await enrol(sqlite_api, made["secret"], device)
    assert again.status_code == 201
    assert (await sqlite_api.http.get(f"/v1/invitations/{made['id']}")).json()["used"] == 1


async def test_a_lost_device_is_replaced(api: Api) -> None:
    made, device = await invited(api, **NORTH), Identity.make()
    old = (await enrol(api, made["secret"], Identity.make())).json()
    await api.anonymous.put("/v1/clients/edge-7", json=profile(), headers=bearer(old["key"]))
    response = await api.http.post("/v1/clients/edge-7/replacement", json={"expires_in_seconds": 60})
    assert response.status_code == 201, response.text
    replacement = response.json()
    assert response.headers["Location"] == f"/v1/invitations/{replacement['id']}"
    assert (replacement["uses"], replacement["replaces"], replacement["id_pattern"]) == (1, "edge-7", "edge-7")
    new = (await enrol(api, replacement["secret"], device, None)).json()
    assert (new["client_id"], new["tags"]) == ("edge-7", {"site": "north"})
    refused = await api.anonymous.get("/v1/clients/edge-7", headers=bearer(old["key"]))
    assert "was revoked" in assert_problem(refused, 401)["detail"]
    client = (await api.anonymous.get("/v1/clients/edge-7", headers=bearer(new["key"]))).json()
    assert (client["public_key"], client["invitation_id"]) == (device.public_key, replacement["id"])
    assert_problem(await api.http.post("/v1/clients/none/replacement", json={}), 404)


async def test_what_does_not_exist_answers_404(sqlite_api: Api) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/enrolments")):
        told = assert_problem(await sqlite_api.http.request(method, f"/v1/invitations/0123{path}"), 404)
        assert told["detail"] == "there is no invitation '0123'"


async def test_pages_of_invitations_follow_each_other(api: Api) -> None:
    made = []
    for _ in range(3):
        made.append((await invited(api))["id"])
        api.clock.advance(1)
    first = (await api.http.get("/v1/invitations?limit=2")).json()
    rest = (await api.http.get("/v1/invitations", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None


async def test_a_wrong_request_of_a_device_is_refused_and_uses_nothing_up(sqlite_api: Api) -> None:
    made, device = await invited(sqlite_api, id_pattern="edge-*"), Identity.make()
    secret = made["secret"]
    right = request(secret, device, "edge-7")
    cases: list[tuple[Any, tuple[str, ...]]] = [
        *((right | {"public_key": value}, ("/public_key",)) for value in PUBLIC_KEYS),
        *((right | {"proof": value}, ("/proof",)) for value in PROOFS),
        *((right | {"client_id": value}, ("/client_id",)) for value in (7, "", "a b", "x" * 65, "other")),
        (right | {"client_id": "edge-8"}, ("/proof",)),
        (request(secret, Identity.make(), "edge-7") | {"public_key": device.public_key}, ("/proof",)),
        (right | {"unknown": 1}, ("/unknown",)),
        ({}, ("/public_key", "/proof")),
        ([], ("",)),
    ]
    for body, pointers in cases:
        answer = await sqlite_api.anonymous.post("/v1/enrolments", json=body, headers=bearer(secret))
        if len(answer.request.content) > 4096:
            assert_problem(answer, 413)
        else:
            assert_problem(answer, 422, *pointers)
    assert (await sqlite_api.http.get(f"/v1/invitations/{made['id']}")).json()["used"] == 0
