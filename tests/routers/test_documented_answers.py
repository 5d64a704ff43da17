"""What the OpenAPI document says of bodies and of statuses is true: it is called as it says."""

from typing import Any

import pytest

from tests.api import Api
from tests.http.documents import operations

PAGES = ["/", "/docs", "/healthz", "/metrics", "/openapi.json", "/readyz"]
LONG = b'{"long": "' + b"x" * 200_000 + b'"}'


@pytest.fixture
def document(sqlite_api: Api) -> dict[str, Any]:
    found: dict[str, Any] = sqlite_api.app.openapi()
    return found


def test_no_post_needs_a_body_of_which_every_field_may_be_left_out(document: dict[str, Any]) -> None:
    schemas, needed = document["components"]["schemas"], []
    for place, operation in operations(document).items():
        body = operation.get("requestBody", {})
        schema = body.get("content", {}).get("application/json", {}).get("schema", {})
        fields = schemas.get(schema.get("$ref", "").rpartition("/")[2], {"required": ["one of several models"]})
        if body.get("required") and place.startswith("POST") and not fields.get("required"):
            needed.append(place)
    assert needed == []


async def test_a_post_without_a_body_is_one_whose_fields_are_left_out(sqlite_api: Api) -> None:
    await sqlite_api.register("edge-7", *(f"edge-1{number}" for number in range(10)))
    for path, status in (("/v1/invitations", 201), ("/v1/clients/edge-7/replacement", 201), ("/v1/selections", 200)):
        for answer in (await sqlite_api.http.post(path), await sqlite_api.http.post(path, json={})):
            assert answer.status_code == status, (path, answer.text)


async def test_operations_without_a_body_answer_one_as_they_are_documented(
    sqlite_api: Api, document: dict[str, Any]
) -> None:
    await sqlite_api.register("edge-7")
    sqlite_api.system.feed.stop()  # or a stream of events would not end
    values = {"training_id": await sqlite_api.create_training(), "client_id": "edge-7", "number": "1"}
    values |= {"key_id": "3f0c2a9d5b7e", "invitation_id": "4fd9a30c7be1528d", "task_id": "t.1.edge-7.fit"}
    values |= {"webhook_id": "9f2c4b7a1d3e5f60"}
    found = {}
    for place, operation in operations(document).items():
        if "requestBody" in operation:
            continue
        method, path = place.format(**values).split(" ")
        for headers in ({}, {"Idempotency-Key": "k"}):
            given = {"Content-Type": "application/json"} | headers
            answer = await sqlite_api.http.request(method, path, content=LONG, headers=given)
            if str(answer.status_code) not in operation["responses"]:
                found[place] = answer.status_code
    assert found == {}


def test_the_answers_of_metrics_with_a_key_are_documented(document: dict[str, Any]) -> None:
    assert operations(document)["GET /metrics"]["responses"].keys() >= {"401", "403", "503"}


@pytest.mark.parametrize("path", PAGES)
async def test_head_on_a_page_answers_as_get_without_the_body(sqlite_api: Api, path: str) -> None:
    got, head = await sqlite_api.anonymous.get(path), await sqlite_api.anonymous.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    for name in ("Content-Type", "Content-Security-Policy", "Location"):
        assert head.headers.get(name) == got.headers.get(name)
    refused = await sqlite_api.anonymous.delete(path)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
