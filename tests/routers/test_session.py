"""``/v1/session``: a key is exchanged for a cookie that only pages of the server's own origin can use."""

from http.cookies import SimpleCookie
from typing import Any

import httpx2
import pytest

from tests.api import KEY, Api, assert_problem, profile
from tests.routers.test_roles import holding

OWN = {"Sec-Fetch-Site": "same-origin"}
BY_ORIGIN = {"Origin": "http://127.0.0.1:8080"}
FOREIGN = [
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://127.0.0.1:9999"},
    {"Origin": "null"},
    {},
]


def cookie_of(response: httpx2.Response) -> Any:
    jar: SimpleCookie = SimpleCookie(response.headers["Set-Cookie"])
    ((_, morsel),) = jar.items()
    return morsel


async def logged_in(api: Api, key: str = KEY) -> dict[str, str]:
    """The header with the cookie of a new session."""
    response = await api.anonymous.post("/v1/session", headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 200, response.text
    api.anonymous.cookies.clear()
    morsel = cookie_of(response)
    return {"Cookie": f"{morsel.key}={morsel.value}"}


async def test_a_key_is_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_use(sqlite_api: Api) -> None:
    response = await sqlite_api.anonymous.post("/v1/session", headers={"Authorization": f"Bearer {KEY}"})
    assert response.json() == {"name": "admin key", "role": "admin", "key_id": None}
    morsel = cookie_of(response)
    assert (morsel["httponly"], morsel["samesite"], morsel["path"], morsel["max-age"]) == (True, "strict", "/", "43200")
    assert morsel["secure"] == ""  # over plain HTTP a browser would drop it
    assert KEY not in response.headers["Set-Cookie"]


async def test_the_cookie_is_for_tls_only_where_it_came_over_tls(sqlite_api: Api) -> None:
    response = await sqlite_api.anonymous.post(
        "https://127.0.0.1:8080/v1/session", headers={"Authorization": f"Bearer {KEY}"}
    )
    assert cookie_of(response)["secure"] is True


@pytest.mark.parametrize("headers", [OWN, BY_ORIGIN])
async def test_pages_of_the_server_read_and_change_with_the_cookie(sqlite_api: Api, headers: dict[str, str]) -> None:
    session = await logged_in(sqlite_api)
    made = await sqlite_api.anonymous.post("/v1/clients", json=profile(id="edge-7"), headers=session | headers)
    assert made.status_code == 201, made.text
    assert (await sqlite_api.anonymous.get("/v1/clients/edge-7", headers=session | OWN)).status_code == 200
    assert (await sqlite_api.anonymous.get("/v1/clients/edge-7", headers=session)).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN)
async def test_no_other_page_changes_anything_with_the_cookie(sqlite_api: Api, headers: dict[str, str]) -> None:
    session = await logged_in(sqlite_api)
    for call in (
        sqlite_api.anonymous.post("/v1/clients", json=profile(id="edge-7"), headers=session | headers),
        sqlite_api.anonymous.delete("/v1/session", headers=session | headers),
    ):
        assert_problem(await call, 401)
    assert (await sqlite_api.http.get("/v1/clients")).json()["items"] == []


async def test_a_session_has_the_role_of_its_key_and_ends_with_it(sqlite_api: Api) -> None:
    made = (await sqlite_api.http.post("/v1/keys", json={"name": "ada", "role": "viewer"})).json()
    session = await logged_in(sqlite_api, made["key"]) | OWN
    assert (await sqlite_api.anonymous.get("/v1/caller", headers=session)).json()["role"] == "viewer"
    assert_problem(await sqlite_api.anonymous.post("/v1/clients", json=profile(id="a"), headers=session), 403)
    assert (await sqlite_api.http.delete(f"/v1/keys/{made['id']}")).status_code == 204
    assert_problem(await sqlite_api.anonymous.get("/v1/caller", headers=session), 401)


async def test_a_session_makes_no_other_one_and_a_wrong_key_makes_none(sqlite_api: Api) -> None:
    session = await logged_in(sqlite_api)
    assert_problem(await sqlite_api.anonymous.post("/v1/session", headers=session | OWN), 401)
    wrong = await sqlite_api.anonymous.post("/v1/session", headers={"Authorization": "Bearer wrong"})
    assert_problem(wrong, 401)
    assert "Set-Cookie" not in wrong.headers
    async with holding(sqlite_api, role="agent", client_id="edge-7") as agent:
        assert_problem(await agent.post("/v1/session"), 403)


async def test_the_header_counts_before_the_cookie(sqlite_api: Api) -> None:
    session = await logged_in(sqlite_api)
    headers = session | OWN | {"Authorization": "Bearer wrong"}
    assert_problem(await sqlite_api.anonymous.get("/v1/caller", headers=headers), 401)


async def test_logging_out_lets_the_browser_forget_the_cookie(sqlite_api: Api) -> None:
    session = await logged_in(sqlite_api)
    response = await sqlite_api.anonymous.delete("/v1/session", headers=session | OWN)
    assert response.status_code == 204
    assert (cookie_of(response)["max-age"], cookie_of(response).value) == ("0", "")
