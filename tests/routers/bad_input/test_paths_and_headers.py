"""Wrong ids in paths, and wrong headers: each is refused by its name."""

import pytest

from tests.api import Api
from tests.routers.bad_input.faults import fault
from tests.routers.bad_input.values import HUGE

BAD_IDS = ("%00", "a%00b", "a%20b", "a%0a", "%ed%a0%80", "%c3%a9", "x" * 65, "a:b", "*", "%ff", "a%25b")
ID_PATHS = [
    ("GET", "/v1/clients/{id}", "/path/client_id"),
    ("DELETE", "/v1/clients/{id}", "/path/client_id"),
    ("POST", "/v1/clients/{id}/heartbeat", "/path/client_id"),
    ("GET", "/v1/clients/{id}/breaker", "/path/client_id"),
    ("POST", "/v1/clients/{id}/breaker/open", "/path/client_id"),
    ("POST", "/v1/clients/{id}/breaker/reset", "/path/client_id"),
    ("POST", "/v1/clients/{id}/replacement", "/path/client_id"),
    ("GET", "/v1/invitations/{id}", "/path/invitation_id"),
    ("DELETE", "/v1/invitations/{id}", "/path/invitation_id"),
    ("GET", "/v1/invitations/{id}/enrolments", "/path/invitation_id"),
    ("GET", "/v1/trainings/{id}", "/path/training_id"),
    ("POST", "/v1/trainings/{id}/start", "/path/training_id"),
    ("POST", "/v1/trainings/{id}/pause", "/path/training_id"),
    ("POST", "/v1/trainings/{id}/resume", "/path/training_id"),
    ("POST", "/v1/trainings/{id}/cancel", "/path/training_id"),
    ("GET", "/v1/trainings/{id}/rounds", "/path/training_id"),
    ("POST", "/v1/trainings/{id}/rounds", "/path/training_id"),
    ("GET", "/v1/trainings/{id}/rounds/1", "/path/training_id"),
    ("GET", "/v1/trainings/{id}/model", "/path/training_id"),
    ("PUT", "/v1/trainings/{id}/model", "/path/training_id"),
    ("GET", "/v1/keys/{id}", "/path/key_id"),
    ("DELETE", "/v1/keys/{id}", "/path/key_id"),
    ("POST", "/v1/keys/{id}/rotate", "/path/key_id"),
]


async def test_a_wrong_id_in_the_path_is_refused(sqlite_api: Api) -> None:
    for method, path, pointer in ID_PATHS:
        json: dict[str, str] | None = {} if path.endswith("/replacement") else None
        for value in BAD_IDS:
            response = await sqlite_api.http.request(method, path.format(id=value), json=json)
            assert fault(response, 422, pointer) is None, (method, path, value)


async def test_a_wrong_round_number_is_refused(sqlite_api: Api) -> None:
    training_id = await sqlite_api.create_training()
    for number in ("0", "-1", "x", "1.5", "2147483648", HUGE, "%00", "NaN", "1%0a2"):
        response = await sqlite_api.http.get(f"/v1/trainings/{training_id}/rounds/{number}")
        assert fault(response, 422, "/path/number") is None, number


async def test_a_wrong_idempotency_key_is_refused(sqlite_api: Api) -> None:
    training_id = await sqlite_api.create_training()
    before = await sqlite_api.stored()
    for key in ("", " ", "a b", "x" * 256, "é", "a\tb"):
        headers = [(b"Idempotency-Key", key.encode("latin-1"))]
        for path in ("/v1/trainings", f"/v1/trainings/{training_id}/rounds"):
            response = await sqlite_api.http.post(path, json={"name": "digits"}, headers=headers)
            assert fault(response, 422, "/header/idempotency-key") is None, key
    assert await sqlite_api.stored() == before


@pytest.mark.parametrize(("header", "path"), [("Prefer", "rounds"), ("If-None-Match", "model")])
async def test_a_header_without_end_is_refused(sqlite_api: Api, header: str, path: str) -> None:
    training_id = await sqlite_api.create_training()
    method = "POST" if path == "rounds" else "GET"
    response = await sqlite_api.http.request(
        method, f"/v1/trainings/{training_id}/{path}", headers={header: "wait=1," * 1000}
    )
    assert fault(response, 422, f"/header/{header.lower()}") is None
