"""Add to the OpenAPI document what FastAPI does not know: the errors of operations, and models no handler names."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.http.problems import MEDIA_TYPE
from app.http.roles import ROLE, Mark
from tcsfeel.contract.clients import RegisterClients
from tcsfeel.contract.connectivity import ChangeConnectivity, ReplaceConnectivity
from tcsfeel.contract.problems import Problem

UNSEEN: tuple[type[BaseModel], ...] = (Problem, RegisterClients, ChangeConnectivity, ReplaceConnectivity)

DESCRIPTION = """
A control plane for federated learning over networks whose links are not equal.

Operations under `/v1` need an API key, which the first start of the server prints. Enter it with **Authorize** above.
"""

Responses = dict[int | str, dict[str, Any]]


def responses(*statuses: int, also: Responses | None = None) -> Responses:
    """Describe the error responses of an operation, and the others in `also`, for its OpenAPI entry."""
    errors: Responses = {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(statuses)
    }
    return errors | (also or {})


def json_body(model: str) -> dict[str, Any]:
    """Describe the body of an operation whose handler reads the body itself."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}
    return {"requestBody": {"required": True, "content": content}}


def with_headers(**descriptions: str) -> dict[str, Any]:
    """Describe the headers of a response for its OpenAPI entry."""
    return {
        "headers": {
            name.replace("_", "-"): {"description": text, "schema": {"type": "string"}}
            for name, text in descriptions.items()
        }
    }


def prepare_routes(app: FastAPI) -> None:
    """Let FastAPI work out the routes, which it does when it looks for one for the first time, and then holds the loop.

    It takes some 30 ms, and the OpenAPI document another 200 ms, which the caller should make before it serves, too.
    """
    nowhere = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": [], "query_string": b""}
    for route in app.routes:
        route.matches(nowhere)


def install(app: FastAPI) -> None:
    """Add the schemas that routes refer to only by name."""
    generate = app.openapi
    _, unseen = models_json_schema(
        [(model, "validation") for model in UNSEEN], ref_template="#/components/schemas/{model}"
    )

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"] |= unseen["$defs"]
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if "requestBody" in operation:
                    operation["responses"] |= {str(status): text for status, text in responses(408).items()}
                if ROLE in operation:
                    _describe_role(operation, path)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _describe_role(operation: dict[str, Any], path: str) -> None:
    """Say in the description of an operation who may call it. One that everybody may call asks for no key."""
    mark = Mark.of(operation, path)
    sentence = mark.sentence()
    if not operation["description"].endswith(sentence):  # FastAPI makes the document once
        operation["description"] += f"\n\n{sentence}"
    if mark.role is None:
        operation["responses"].pop("403", None)
    if mark.role is None and not mark.invitation:
        operation.pop("security", None)
        operation["responses"].pop("401", None)
