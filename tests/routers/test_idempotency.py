"""``Idempotency-Key`` of several callers."""

from typing import Any

from tests.api import Api, assert_problem

PATH = "/v1/trainings"


async def bearing(api: Api, name: str) -> dict[str, str]:
    """Make a key, and give the header with which its caller calls."""
    made = await api.http.post("/v1/keys", json={"name": name, "role": "operator"})
    return {"Authorization": f"Bearer {made.json()['key']}"}


async def create(api: Api, headers: dict[str, str], body: dict[str, Any], path: str = PATH) -> str:
    response = await api.anonymous.post(path, json=body, headers=headers | {"Idempotency-Key": "nightly"})
    assert response.status_code in {201, 202}, response.text
    return str(response.json().get("id", response.json().get("number")))


async def test_the_same_key_of_two_callers_makes_two_trainings(api: Api) -> None:
    callers = [dict(api.http.headers), await bearing(api, "ci"), await bearing(api, "notebooks")]
    body = {"name": "x"}
    made = [await create(api, headers, body) for headers in callers]
    assert len(set(made)) == 3
    assert [await create(api, headers, body) for headers in callers] == made
    other = await api.anonymous.post(PATH, json={"name": "y"}, headers=callers[1] | {"Idempotency-Key": "nightly"})
    assert_problem(other, 422)


async def test_a_caller_keeps_its_keys_when_its_api_key_is_rotated(sqlite_api: Api) -> None:
    api, body = sqlite_api, {"name": "x"}
    response = await api.http.post("/v1/keys", json={"name": "ci", "role": "operator"})
    made = await create(api, {"Authorization": f"Bearer {response.json()['key']}"}, body)
    rotated = await api.http.post(f"/v1/keys/{response.json()['id']}/rotate")
    assert await create(api, {"Authorization": f"Bearer {rotated.json()['key']}"}, body) == made


async def test_the_longest_path_has_room_beside_the_caller(sqlite_api: Api) -> None:
    headers = await bearing(sqlite_api, "ci")
    training_id = await create(sqlite_api, headers, {"name": "x"})
    assert await create(sqlite_api, headers, {}, f"{PATH}/{training_id}/rounds") == "1"
    assert await create(sqlite_api, headers, {}, f"{PATH}/{training_id}/rounds") == "1"
    (row,) = [row for row in (await sqlite_api.stored())["idempotency_keys"] if row[0].endswith("/rounds")]
    longest_id = 64
    assert len(row[0]) - len(training_id) + longest_id <= 128
