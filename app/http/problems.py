"""Errors as RFC 9457 problem details: which class means which status, in one table.

How an error looks, and how pydantic's become sentences about fields, is in `tcsfeel.contract.problems`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from app.domain import errors
from app.http.bodies import TooSlow, UnsupportedMediaType
from app.http.faults import field_problems
from app.http.readers import KeyForPage
from app.memory import NoMemoryFree, TooManyAnswers
from app.metrics import Metrics
from app.services.access.keys import Unauthenticated
from app.services.rounds.planning import StrategyOverdue
from app.services.rounds.waits import Stopping, TooManyWaits
from app.services.trainings.idempotency import KeyReused
from app.store.availability import DatabaseUnavailable
from app.store.bucket import ObjectStoreUnavailable
from app.store.database import in_a_line, is_outage
from app.store.model_store import FileTooLarge, StoreUnavailable
from tcsfeel import errors as refusals
from tcsfeel.contract.problems import FieldProblem
from tcsfeel.contract.sentences import summary
from tcsfeel.errors import Picklable
from tcsfeel.inbound import Crowded
from tcsfeel.text import plain

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class RangeNotSatisfiable(Picklable):
    """The ``Range`` asks only for bytes that a file of `size` bytes does not have."""

    def __init__(self, size: int) -> None:
        super().__init__(f"should be bytes=FIRST-LAST within the {size} bytes of the file")
        self.size = size


@dataclass(frozen=True, slots=True)
class Kind:
    """How HTTP answers a class of errors: its status, its name, its title, and headers."""

    status: HTTPStatus
    name: str
    title: str
    headers: Mapping[str, str] | None = None


CATALOG: Mapping[type[Exception], Kind] = {
    errors.NotFound: Kind(HTTPStatus.NOT_FOUND, "not-found", "Not found"),
    errors.Removed: Kind(HTTPStatus.GONE, "removed", "This has been removed"),
    errors.AlreadyExists: Kind(HTTPStatus.CONFLICT, "already-exists", "This id is already in use"),
    refusals.Invalid: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request is not valid"),
    errors.StateForbids: Kind(HTTPStatus.CONFLICT, "state-forbids", "This is not possible in the current state"),
    errors.IllegalTransition: Kind(HTTPStatus.CONFLICT, "state-forbids", "This is not possible in the current state"),
    refusals.SelectionInfeasible: Kind(
        HTTPStatus.CONFLICT, "selection-infeasible", "No set of clients meets the conditions"
    ),
    refusals.UnknownStrategy: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request is not valid"),
    refusals.StrategyFailed: Kind(HTTPStatus.CONFLICT, "strategy-failed", "The selection strategy failed"),
    StrategyOverdue: Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "strategy-overdue",
        "The selection strategy takes too long",
        {"Retry-After": "60"},
    ),
    refusals.UpdateRejected: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "update-rejected", "The update cannot be used"),
    refusals.UnusableRound: Kind(HTTPStatus.CONFLICT, "unusable-round", "No model can be made from the updates"),
    KeyReused: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "key-reused", "This Idempotency-Key was used for another request"),
    Unauthenticated: Kind(
        HTTPStatus.UNAUTHORIZED, "unauthenticated", "A valid API key is required", {"WWW-Authenticate": "Bearer"}
    ),
    KeyForPage: Kind(
        HTTPStatus.UNAUTHORIZED,
        "unauthenticated",
        "A valid API key is required",
        {"WWW-Authenticate": 'Basic realm="TCS-FEEL", charset="UTF-8"'},
    ),
    errors.WrongInvitation: Kind(
        HTTPStatus.UNAUTHORIZED,
        "wrong-invitation",
        "The secret of an invitation is required",
        {"WWW-Authenticate": "Bearer"},
    ),
    errors.InvitationOver: Kind(HTTPStatus.GONE, "invitation-over", "No more devices can enrol with this invitation"),
    errors.CannotEnrol: Kind(HTTPStatus.CONFLICT, "cannot-enrol", "The device cannot enrol under this id"),
    ClientDisconnect: Kind(
        HTTPStatus.BAD_REQUEST, "incomplete", "The connection was closed before the request was complete"
    ),
    TooSlow: Kind(HTTPStatus.REQUEST_TIMEOUT, "too-slow", "The request body arrives too slowly"),
    FileTooLarge: Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "The request body is too large"),
    UnsupportedMediaType: Kind(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "This Content-Type is not accepted"
    ),
    DatabaseUnavailable: Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "database-unavailable",
        "The database does not answer",
        {"Retry-After": "5"},
    ),
    errors.LimitReached: Kind(HTTPStatus.TOO_MANY_REQUESTS, "limit-reached", "A limit of the server is reached"),
    StoreUnavailable: Kind(
        HTTPStatus.INSUFFICIENT_STORAGE,
        "storage-unavailable",
        "The model store cannot store the file",
        {"Retry-After": "60"},
    ),
    ObjectStoreUnavailable: Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "object-store-unavailable",
        "The bucket that stores the models does not answer, or refuses the request",
        {"Retry-After": "5"},
    ),
    Crowded: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "crowded", "The server is too busy", {"Retry-After": "5"}),
    NoMemoryFree: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "crowded", "The server is too busy", {"Retry-After": "5"}),
    TooManyWaits: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "crowded", "The server is too busy", {"Retry-After": "5"}),
    TooManyAnswers: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "crowded", "The server is too busy", {"Retry-After": "5"}),
    Stopping: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "The server is stopping", {"Retry-After": "1"}),
    RangeNotSatisfiable: Kind(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "The range is outside the file"
    ),
}


def kind_of(error: Exception) -> Kind:
    """Find the catalog's entry for the error's class, or for its nearest base class."""
    return next(CATALOG[cls] for cls in type(error).__mro__ if cls in CATALOG)


SHARED_LIMITS: Mapping[type[Exception], str] = {
    Crowded: "connections",
    FileTooLarge: "body_bytes",
    NoMemoryFree: "memory",
    TooManyAnswers: "long_answers",
    TooManyWaits: "waits",
}
"""The name, in the metric, of each limit that callers share or that has no setting of its own."""


class ProblemResponse(JSONResponse):
    """Problem details as JSON. Characters that UTF-8 cannot encode, such as a lone surrogate, become ``?``."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def problem(
    kind: Kind, detail: str, fields: Sequence[FieldProblem] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """Make the answer to an error of this kind; `headers` are added to the kind's headers, or replace them."""
    body: dict[str, Any] = {
        "type": f"urn:tcsfeel:problem:{kind.name}",
        "title": kind.title,
        "status": int(kind.status),
        "detail": detail,
    }
    if fields:
        body["errors"] = [field.model_dump() for field in fields]
    return ProblemResponse(body, int(kind.status), headers=dict(kind.headers or {}) | dict(headers or {}))


def install(app: FastAPI) -> None:
    """Answer every error with problem details; `RequestContext` answers errors that are not in the catalog."""
    for cls in CATALOG:
        app.add_exception_handler(cls, _known)
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_exception_handler(DatabaseUnavailable, _database)
    app.add_exception_handler(StoreUnavailable, _disk)
    app.add_exception_handler(ObjectStoreUnavailable, _bucket)
    app.add_exception_handler(UnsupportedMediaType, _media_type)
    app.add_exception_handler(RangeNotSatisfiable, _range)
    app.add_exception_handler(errors.LimitReached, _limited)
    for cls in SHARED_LIMITS:
        app.add_exception_handler(cls, _crowded)


async def _known(_request: Request, error: Exception) -> Response:
    kind = kind_of(error)
    if isinstance(error, refusals.Invalid):
        detail = f"{error.pointer} {error.detail}" if error.pointer else error.detail
        return problem(kind, detail, [FieldProblem(pointer=error.pointer, detail=error.detail)])
    return problem(kind, str(error) or kind.title)


async def _limited(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.LimitReached)  # noqa: S101  (the handler is registered for this class)
    return limited(error, request.app.state.system.metrics)


def limited(error: errors.LimitReached, metrics: Metrics) -> Response:
    """Make the answer to a caller that has reached a limit, and count it."""
    metrics.limited.labels(error.limit).inc()
    return problem(kind_of(error), str(error), headers={"Retry-After": str(math.ceil(error.retry_after))})


async def _crowded(request: Request, error: Exception) -> Response:
    limit = next(SHARED_LIMITS[cls] for cls in type(error).__mro__ if cls in SHARED_LIMITS)
    request.app.state.system.metrics.limited.labels(limit).inc()
    return await _known(request, error)


async def _media_type(_request: Request, error: Exception) -> Response:
    return problem(
        CATALOG[UnsupportedMediaType],
        f"Content-Type {error}",
        [FieldProblem(pointer="/header/content-type", detail=str(error))],
    )


async def _range(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RangeNotSatisfiable)  # noqa: S101  (the handler is registered for this class)
    fields = [FieldProblem(pointer="/header/range", detail=str(error))]
    headers = {"Content-Range": f"bytes */{error.size}"}
    return problem(CATALOG[RangeNotSatisfiable], f"Range {error}", fields, headers)


async def _unprocessable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  (the handler is registered for this class)
    found = error.errors()
    unread = [entry for entry in found if entry["loc"] == ("body",) and isinstance(entry.get("input"), bytes)]
    if any(entry["type"] != "json_invalid" for entry in unread):
        return await _media_type(request, UnsupportedMediaType("application/json"))
    return _invalid(field_problems(found))


def _invalid(fields: Sequence[FieldProblem]) -> Response:
    detail = summary([(field.pointer, field.detail) for field in fields])
    return problem(CATALOG[refusals.Invalid], detail, fields)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (the handler is registered for this class)
    status, headers, detail = HTTPStatus(error.status_code), dict(error.headers or {}), str(error.detail)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request)) or headers.get("Allow", "")
        detail = f"the method {request.method} is not allowed at this path: use {headers['Allow']}"
    if status == HTTPStatus.NOT_FOUND:
        detail = f"there is no path {plain(request.url.path, LONGEST_PATH)}: the page /docs lists the paths"
    kind = next((kind for kind in CATALOG.values() if kind.status == status and status in _SHARED), None)
    kind = kind or Kind(status, status.phrase.lower().replace(" ", "-"), status.phrase)
    return problem(kind, detail, headers=headers)


_SHARED = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.NOT_FOUND}
LONGEST_PATH = 200  # characters of it that an answer repeats


def _allowed(request: Request) -> list[str]:
    """List the methods of all routes at the request's path, since the framework names those of only one route."""
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    return sorted(
        method
        for method in methods
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in request.app.routes)
    )


async def _database(_request: Request, error: Exception) -> Response:
    """Ask the caller to try again if the database does not answer; any other database error is a bug of the server."""
    if isinstance(error, SQLAlchemyError) and not is_outage(error):
        return unforeseen(error)
    log.error("the database does not answer", reason=in_a_line(error))
    return problem(CATALOG[DatabaseUnavailable], "try again in a moment")


async def _disk(_request: Request, error: Exception) -> Response:
    log.error("the model store cannot store a file", reason=in_a_line(error))
    return problem(CATALOG[StoreUnavailable], "try again later: the server's log names the cause")


async def _bucket(_request: Request, error: Exception) -> Response:
    log.error("the object store does not answer as it should", reason=in_a_line(error))
    return problem(CATALOG[ObjectStoreUnavailable], "try again in a moment")


def unforeseen(error: Exception) -> Response:
    """Make the answer to an error that is in no table."""
    log.error("unforeseen error", exc_info=error)
    kind = Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The server failed unexpectedly")
    return problem(kind, "this is a fault of the server; its log has the details under this response's X-Request-ID")
