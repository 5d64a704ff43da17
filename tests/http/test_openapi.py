"""The documented API: complete, runnable as it stands, readable without the internet, and true."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi import routing
from fastapi.dependencies.utils import get_dependant
from starlette.routing import Match

from app.http.pieces import DEPTH
from app.main import create_app
from tests.api import PROBLEM, Api
from tests.http.documents import examples, operations
from tests.planes import settings

READS_BODY = {"POST /v1/trainings/{training_id}/rounds"}  # to know whether a repeat says the same


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return found.union(*(references(value) for value in node.values()))
    return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()


def test_the_document_lists_the_whole_api(document: dict[str, Any]) -> None:
    client, training = "/v1/clients/{client_id}", "/v1/trainings/{training_id}"
    assert set(operations(document)) >= {
        "POST /v1/clients",
        "GET /v1/clients",
        "POST /v1/clients/batch",
        *(f"{method} {client}" for method in ("GET", "PUT", "PATCH", "DELETE")),
        f"POST {client}/heartbeat",
        f"POST {client}/outcomes",
        f"GET {client}/breaker",
        f"POST {client}/breaker/reset",
        f"POST {client}/breaker/open",
        f"POST {client}/replacement",
        *(f"{method} /v1/invitations" for method in ("GET", "POST")),
        *(f"{method} /v1/invitations/{{invitation_id}}" for method in ("GET", "DELETE")),
        "GET /v1/invitations/{invitation_id}/enrolments",
        "POST /v1/enrolments",
        *(f"{method} /v1/connectivity" for method in ("GET", "PUT", "PATCH")),
        "GET /v1/topology",
        "GET /v1/strategies",
        "POST /v1/selections",
        "POST /v1/trainings",
        "GET /v1/trainings",
        f"GET {training}",
        *(f"{method} {training}/model" for method in ("GET", "PUT")),
        f"GET {training}/models",
        *(f"{method} {training}/models/{{number}}/pin" for method in ("PUT", "DELETE")),
        *(f"POST {training}/{action}" for action in ("start", "pause", "resume", "cancel", "extend")),
        f"POST {training}/rounds",
        f"GET {training}/rounds",
        f"GET {training}/rounds/{{number}}",
        f"GET {training}/rounds/{{number}}/selection",
        *(f"{method} /v1/keys" for method in ("GET", "POST")),
        *(f"{method} /v1/keys/{{key_id}}" for method in ("GET", "DELETE")),
        "POST /v1/keys/{key_id}/rotate",
        *(f"{method} /v1/webhooks" for method in ("GET", "POST")),
        *(f"{method} /v1/webhooks/{{webhook_id}}" for method in ("GET", "PATCH", "DELETE")),
        "GET /v1/webhooks/{webhook_id}/dead-letters",
        "POST /v1/webhooks/{webhook_id}/redeliver",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }


def test_every_operation_has_a_summary_a_description_and_a_name(document: dict[str, Any]) -> None:
    found = operations(document)
    for place, operation in found.items():
        assert operation.get("summary"), place
        assert operation.get("description"), place
    assert len({operation["operationId"] for operation in found.values()}) == len(found)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part.replace("~1", "/").replace("~0", "~")]
        assert node


def test_v1_asks_for_the_bearer_key_and_the_rest_does_not(document: dict[str, Any]) -> None:
    (name,) = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][name]["type"] == "http"
    assert document["components"]["securitySchemes"][name]["scheme"] == "bearer"
    for place, operation in operations(document).items():
        assert operation.get("security") == ([{name: []}] if " /v1/" in place else None), place


def test_errors_are_documented_as_problems(document: dict[str, Any]) -> None:
    for place, operation in operations(document).items():
        answers = {int(status): answer for status, answer in operation["responses"].items()}
        errors = {status for status in answers if status >= 400}
        body = operation.get("requestBody", {}).get("content", {})
        if " /v1/" in place:
            of_callers = {"none": set(), "invitation": {401}}.get(operation["x-tcsfeel-role"], {401, 403})
            assert errors >= {422, 503} | of_callers, place
            assert ("{" in place) == (404 in errors) or place.startswith("PUT /v1/clients"), place
            assert (bool(body) or place in READS_BODY) == (413 in errors), place
            assert bool(body) == (415 in errors), place
            assert bool(body) == (408 in errors), place
        for status in errors - ({503} if place == "GET /readyz" else set()):
            schema = answers[status]["content"][PROBLEM]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}, place
            assert list(answers[status]["content"]) == [PROBLEM], place


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    for place, operation in operations(document).items():
        if "application/json" in operation.get("requestBody", {}).get("content", {}):
            assert examples(document, operation), place


def test_no_body_takes_fields_that_it_does_not_know(document: dict[str, Any]) -> None:
    bodies = {name for operation in operations(document).values() for name in references(operation.get("requestBody"))}
    assert bodies
    for name in bodies:
        assert document["components"]["schemas"][name.rpartition("/")[2]]["additionalProperties"] is False, name


async def test_the_documentation_needs_no_other_host(api: Api) -> None:
    page = await api.anonymous.get("/docs")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assets = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert any(asset.endswith(".js") for asset in assets)
    assert any(asset.endswith(".css") for asset in assets)
    for asset in [*assets, *re.findall(r"url: '([^']+)'", page.text)]:
        place = urljoin("http://127.0.0.1:8080/docs", asset)
        assert place.startswith("http://127.0.0.1:8080/"), asset
        answer = await api.anonymous.get(place)
        assert (answer.status_code, bool(answer.content)) == (200, True), asset
    assert not re.search(r"(?:https?:)?//[a-z]", page.text)


async def test_the_start_page_leads_to_a_page(api: Api) -> None:
    response = await api.anonymous.get("/", follow_redirects=True)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")


async def test_the_document_is_served(api: Api, document: dict[str, Any]) -> None:
    assert (await api.anonymous.get("/openapi.json")).json() == json.loads(json.dumps(document))


def levels(schema: dict[str, Any], document: dict[str, Any], inside: tuple[str, ...] = ()) -> int:
    """How deep a value of a schema may be nested: a list or an object is one level, and what it holds more of them."""
    if (reference := schema.get("$ref")) is not None:
        assert reference not in inside, f"{reference} may be nested without end"
        found = document["components"]["schemas"][reference.rpartition("/")[2]]
        return levels(found, document, (*inside, reference))
    held = [*schema.get("properties", {}).values(), *schema.get("prefixItems", [])]
    held += [schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
    own = schema.get("type") in {"object", "array"}
    same = [one for name in ("anyOf", "oneOf", "allOf") for one in schema.get(name, [])]
    return max(
        own + max((levels(one, document, inside) for one in held), default=0),
        max((levels(one, document, inside) for one in same), default=0),
    )


def test_no_request_has_use_for_more_levels_than_a_refusal_says(document: dict[str, Any]) -> None:
    deepest = {
        name: levels(body["schema"], document)
        for name, operation in operations(document).items()
        for kind, body in operation.get("requestBody", {}).get("content", {}).items()
        if kind == "application/json"
    }
    assert deepest["POST /v1/clients/batch"] > deepest["POST /v1/clients"] > 1  # something is counted
    assert {name: depth for name, depth in deepest.items() if depth > DEPTH} == {}


def test_the_first_request_finds_the_routes_worked_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked_out = 0

    def counting(*args: Any, **given: Any) -> Any:
        nonlocal worked_out
        worked_out += 1
        return get_dependant(*args, **given)

    monkeypatch.setattr(routing, "get_dependant", counting)
    app = create_app(settings(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/tcsfeel.db"))
    worked_out = 0
    scope = {"type": "http", "method": "GET", "path": "/v1/clients/a", "root_path": "", "headers": []}
    assert any(route.matches(scope)[0] is Match.FULL for route in app.routes)
    assert app.openapi()["paths"]
    assert worked_out == 0
