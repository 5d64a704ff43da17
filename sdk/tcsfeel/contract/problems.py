"""Errors in responses: problem details (RFC 9457).

`errors` lists the wrong fields and what is wrong with them. A pointer is a JSON pointer into the body; ``/query/…``,
``/path/…`` and ``/header/…`` point at the rest of the request.
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
