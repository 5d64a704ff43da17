"""Errors in responses: problem details (RFC 9457).

`errors` lists what is wrong with which field. A pointer is a JSON pointer into the body; ``/query/…``, ``/path/…`` and
``/header/…`` point at the rest of the request.
"""

from pydantic import BaseModel


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """The body of every error."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None
