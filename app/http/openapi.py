"""Add to the OpenAPI document what FastAPI does not know: the errors of operations, and models no handler names."""

from functools import cache
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.http.descriptions import responses
from app.http.faults import Problem
from app.http.roles import ROLE, Mark
from tcsfeel.contract.clients import RegisterClients
from tcsfeel.contract.connectivity import ChangeConnectivity, ReplaceConnectivity

UNSEEN: tuple[type[BaseModel], ...] = (Problem, RegisterClients, ChangeConnectivity, ReplaceConnectivity)

DESCRIPTION = """
A control plane for federated learning over networks whose links are not equal.

Operations under `/v1` need an API key, which the first start of the server prints. Enter it with **Authorize** above.
"""

KEY = "HTTPBearer"
"""The name of the security scheme of operations that need a key."""


def install(app: FastAPI) -> None:
    """Add the schemas that routes refer to only by name."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"] |= _unseen()
        document["components"]["securitySchemes"] = {
            KEY: {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key: the admin key, or one that an admin has made",
            }
        }
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if "requestBody" in operation:
                    operation["responses"] |= {str(status): text for status, text in responses(408).items()}
                if ROLE in operation:
                    _describe_role(operation, path)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


@cache
def _unseen() -> dict[str, Any]:
    """Make the schemas of `UNSEEN` and of what they consist of, by name: once, when somebody asks for the document."""
    models: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in UNSEEN]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")
    made: dict[str, Any] = schemas["$defs"]
    return made


def _describe_role(operation: dict[str, Any], path: str) -> None:
    """Say in the description of an operation who may call it. One that everybody may call asks for no key."""
    mark = Mark.of(operation, path)
    sentence = mark.sentence()
    if not operation["description"].endswith(sentence):  # FastAPI makes the document once
        operation["description"] += f"\n\n{sentence}"
    if mark.role is None:
        operation["responses"].pop("403", None)
    if mark.role is None and not mark.invitation:
        operation["responses"].pop("401", None)
    else:
        operation["security"] = [{KEY: []}]
