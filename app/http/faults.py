"""Say what is wrong in responses (problem details, RFC 9457), and turn pydantic's errors into sentences about fields.

A pointer is a JSON pointer into the body; ``/query/…``, ``/path/…`` and ``/header/…`` point at the rest of the request.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from tcsfeel.contract.sentences import pointer, sentence


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """The body of every error. `errors` lists the wrong fields and what is wrong with them."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


def field_problems(found: Sequence[Any]) -> list[FieldProblem]:
    """Turn pydantic's errors into pointers with sentences; at most a hundred."""
    return [FieldProblem(pointer=pointer(_in_body(entry)), detail=sentence(entry)) for entry in found[:100]]


def _in_body(entry: Any) -> Any:
    """Leave the body out of the place of an error: pointers into it begin at its root."""
    return {**entry, "loc": entry["loc"][1:]} if entry["loc"][:1] == ("body",) else entry
