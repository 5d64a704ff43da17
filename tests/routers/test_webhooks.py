"""``/v1/webhooks``: what each call answers, and to whom."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.webhooks import Delivery
from tests.api import Api, assert_problem
from tests.routers.test_roles import holding

URL = "http://10.0.0.9:9000/hook"


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    response = await api.http.post("/v1/webhooks", json={"url": URL} | fields)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_a_webhook_is_shown_with_its_secret_once(api: Api) -> None:
    response = await api.http.post("/v1/webhooks", json={"url": URL, "types": ["round.completed"], "name": "pager"})
    new = response.json()
    assert response.headers["Location"] == f"/v1/webhooks/{new['id']}"
    assert new.pop("secret").startswith("whsec_")
    assert new == {
        "id": new["id"],
        "name": "pager",
        "url": URL,
        "types": ["round.completed"],
        "training_id": None,
        "enabled": True,
        "cursor": 0,
        "created_at": "1970-01-12T13:46:40Z",
        "created_by": "admin key",
        "updated_at": "1970-01-12T13:46:40Z",
        "delivered_at": None,
        "failing_since": None,
        "problem": None,
    }
    assert (await api.http.get(f"/v1/webhooks/{new['id']}")).json() == new
    assert (await api.http.get("/v1/webhooks")).json() == {"items": [new], "next_cursor": None}


async def test_a_webhook_is_changed_and_removed(api: Api) -> None:
    path = f"/v1/webhooks/{(await made(api, name='x'))['id']}"
    changed = (await api.http.patch(path, json={"enabled": False, "types": ["client.down"], "name": None})).json()
    assert (changed["enabled"], changed["types"], changed["name"], changed["url"]) == (
        False,
        ["client.down"],
        None,
        URL,
    )
    assert (await api.http.delete(path)).status_code == 204
    for gone in (api.http.get(path), api.http.patch(path, json={}), api.http.delete(path)):
        assert_problem(await gone, 404)


async def test_a_list_of_webhooks_has_pages(api: Api) -> None:
    ids = [(await made(api))["id"] for _ in range(3)]
    first = (await api.http.get("/v1/webhooks", params={"limit": 2})).json()
    rest = (await api.http.get("/v1/webhooks", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert {one["id"] for one in (*first["items"], *rest["items"])} == set(ids)
    assert rest["next_cursor"] is None


async def test_dead_deliveries_have_pages_and_are_redelivered(api: Api) -> None:
    webhook_id = (await made(api))["id"]
    dead = Delivery(
        webhook_id=webhook_id, event_id=1, type="client.down", body="{}", state="dead", attempts=8, next_at=5.0,
        status=500, problem="the receiver answered 500",
    )  # fmt: skip
    async with api.system.db.begin() as tx:
        await tx.webhooks.keep([replace(dead, event_id=number) for number in (1, 2, 2**40)])
    path = f"/v1/webhooks/{webhook_id}"
    first = (await api.http.get(f"{path}/dead-letters", params={"limit": 2})).json()
    assert first["items"][0] == {
        "event_id": 1,
        "type": "client.down",
        "attempts": 8,
        "died_at": "1970-01-01T00:00:05Z",
        "status": 500,
        "problem": "the receiver answered 500",
    }
    rest = await api.http.get(f"{path}/dead-letters", params={"cursor": first["next_cursor"]})
    assert [one["event_id"] for one in rest.json()["items"]] == [2**40]
    some = await api.http.post(f"{path}/redeliver", json={"event_ids": [2, 7]})
    assert some.json() == {"redelivered": 1}
    assert (await api.http.post(f"{path}/redeliver", json={"event_ids": []})).json() == {"redelivered": 0}
    assert (await api.http.post(f"{path}/redeliver")).json() == {"redelivered": 2}
    for call in (api.http.get("/v1/webhooks/none/dead-letters"), api.http.post("/v1/webhooks/none/redeliver")):
        assert_problem(await call, 404)


async def test_operators_read_and_redeliver_and_only_admins_change(api: Api) -> None:
    path = f"/v1/webhooks/{(await made(api))['id']}"
    async with holding(api, role="operator") as operator:
        assert (await operator.get("/v1/webhooks")).status_code == 200
        assert (await operator.post(f"{path}/redeliver")).status_code == 200
        assert_problem(await operator.post("/v1/webhooks", json={"url": URL}), 403)
        assert_problem(await operator.patch(path, json={"enabled": False}), 403)
        assert_problem(await operator.delete(path), 403)
    async with holding(api, role="viewer") as viewer:
        assert_problem(await viewer.get("/v1/webhooks"), 403)


async def test_there_are_only_as_many_as_the_setting_allows(sqlite_api: Api) -> None:
    for _ in range(sqlite_api.system.settings.limits.webhooks):
        await made(sqlite_api)
    refusal = assert_problem(await sqlite_api.http.post("/v1/webhooks", json={"url": URL}), 429)
    assert "TCSFEEL_LIMITS__WEBHOOKS" in refusal["detail"]


async def test_a_training_that_does_not_exist_is_named(api: Api) -> None:
    wrong = {"training_id": "none"}
    assert_problem(await api.http.post("/v1/webhooks", json={"url": URL} | wrong), 422, "/training_id")
    path = f"/v1/webhooks/{(await made(api))['id']}"
    assert_problem(await api.http.patch(path, json=wrong), 422, "/training_id")


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("training.complete", "there are no events of the type training.complete"),
        ("webhook.disabled", "events of webhooks, such as webhook.disabled, are not sent to webhooks"),
    ],
)
async def test_a_type_of_which_no_event_would_come_is_named(sqlite_api: Api, name: str, detail: str) -> None:
    wrong = {"types": ["training.failed", name]}
    refusal = assert_problem(await sqlite_api.http.post("/v1/webhooks", json={"url": URL} | wrong), 422, "/types/1")
    assert detail in str(refusal)
    path = f"/v1/webhooks/{(await made(sqlite_api))['id']}"
    assert_problem(await sqlite_api.http.patch(path, json=wrong), 422, "/types/1")
