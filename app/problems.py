"""Errors as RFC 9457 problem details: which class means which status, in one table.

`errors` lists what is wrong with which field. A pointer is a JSON pointer into the body; ``/query/…``, ``/path/…`` and
``/header/…`` point at the rest of the request. What the sender wrote is not repeated: it may be a secret.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from app.domain import errors
from app.services.idempotency import KeyReused
from app.services.keys import Unauthenticated
from app.store.model_store import FileTooLarge

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5


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


@dataclass(frozen=True, slots=True)
class Kind:
    """What a class of errors is to HTTP."""

    status: HTTPStatus
    name: str
    title: str
    headers: Mapping[str, str] | None = None


CATALOG: Mapping[type[Exception], Kind] = {
    errors.NotFound: Kind(HTTPStatus.NOT_FOUND, "not-found", "There is no such thing"),
    errors.AlreadyExists: Kind(HTTPStatus.CONFLICT, "already-exists", "The id is taken"),
    errors.Invalid: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request cannot be true"),
    errors.StateForbids: Kind(HTTPStatus.CONFLICT, "state-forbids", "The state does not allow it"),
    errors.IllegalTransition: Kind(HTTPStatus.CONFLICT, "state-forbids", "The state does not allow it"),
    errors.SelectionInfeasible: Kind(HTTPStatus.CONFLICT, "selection-infeasible", "No set of clients fits"),
    errors.UnknownStrategy: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request cannot be true"),
    errors.UpdateRejected: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "update-rejected", "The update cannot be used"),
    errors.UnusableRound: Kind(HTTPStatus.CONFLICT, "unusable-round", "The updates give no model"),
    KeyReused: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "key-reused", "The Idempotency-Key belongs to another request"),
    Unauthenticated: Kind(
        HTTPStatus.UNAUTHORIZED, "unauthenticated", "A valid key is needed", {"WWW-Authenticate": "Bearer"}
    ),
    FileTooLarge: Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "The body is too large"),
}


def kind_of(error: Exception) -> Kind:
    """The entry of the nearest class that the catalog knows."""
    return next(CATALOG[cls] for cls in type(error).__mro__ if cls in CATALOG)


Responses = dict[int | str, dict[str, Any]]


def responses(*statuses: int, also: Responses | None = None) -> Responses:
    """The error responses of an operation for its OpenAPI entry, and others that it has."""
    errors_by_status: Responses = {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(statuses)
    }
    return errors_by_status | (also or {})


def problem(kind: Kind, detail: str, fields: Sequence[FieldProblem] = ()) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:tcsfeel:problem:{kind.name}",
        "title": kind.title,
        "status": int(kind.status),
        "detail": detail,
    }
    if fields:
        body["errors"] = [field.model_dump() for field in fields]
    return JSONResponse(body, kind.status, headers=kind.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error with problem details."""
    for cls in CATALOG:
        app.add_exception_handler(cls, _known)
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_exception_handler(Exception, _unforeseen)


async def _known(_request: Request, error: Exception) -> Response:
    fields = [FieldProblem(pointer=error.pointer, detail=error.detail)] if isinstance(error, errors.Invalid) else []
    return problem(kind_of(error), str(error), fields)


async def _unprocessable(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  (the handler is registered for this class)
    fields = field_problems(error.errors())
    detail = "; ".join(f"{field.pointer or 'the body'} {field.detail}" for field in fields[:3])
    return problem(CATALOG[errors.Invalid], detail, fields)


def field_problems(found: Sequence[Any]) -> list[FieldProblem]:
    """Pydantic's errors as pointers; at most a hundred."""
    return [FieldProblem(pointer=_pointer(entry["loc"]), detail=_sentence(entry["msg"])) for entry in found[:100]]


def _pointer(place: Sequence[str | int]) -> str:
    parts = place[1:] if place[:1] == ("body",) else place
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should", "should")


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (the handler is registered for this class)
    status = HTTPStatus(error.status_code)
    kind = Kind(status, status.phrase.lower().replace(" ", "-"), status.phrase, error.headers)
    return problem(kind, str(error.detail))


async def _database(_request: Request, error: Exception) -> Response:
    """A database that does not answer is a matter of time; anything else it says is a fault of ours."""
    if not isinstance(error, DBAPIError) or not (error.connection_invalidated or _is_outage(error)):
        return await _unforeseen(_request, error)
    log.error("the database does not answer", exc_info=error)
    kind = Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "database-unavailable",
        "The database does not answer",
        {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
    return problem(kind, "try again in a moment")


def _is_outage(error: DBAPIError) -> bool:
    return type(error).__name__ in {"OperationalError", "InterfaceError"}


async def _unforeseen(_request: Request, error: Exception) -> Response:
    log.error("unforeseen error", exc_info=error)
    kind = Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Something went wrong here")
    return problem(kind, "the server's log says more, under this response's X-Request-ID")
