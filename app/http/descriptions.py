"""Describe what operations answer and accept, for their entries in the OpenAPI document."""

from http import HTTPStatus
from typing import Any

PROBLEM = "application/problem+json"

Responses = dict[int | str, dict[str, Any]]


def responses(*statuses: int, also: Responses | None = None) -> Responses:
    """Describe the error responses of an operation, and the others in `also`, for its OpenAPI entry."""
    errors: Responses = {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
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
