"""The OpenAPI document, with what FastAPI cannot see: models that no handler names by its types."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.schemas.connectivity import ReplaceConnectivity
from app.schemas.problems import Problem

UNSEEN: tuple[type[BaseModel], ...] = (Problem, ReplaceConnectivity)


def install(app: FastAPI) -> None:
    """Add the schemas that routes refer to by name alone."""
    generate = app.openapi
    _, unseen = models_json_schema(
        [(model, "validation") for model in UNSEEN], ref_template="#/components/schemas/{model}"
    )

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"] |= unseen["$defs"]
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
