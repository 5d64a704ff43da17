"""Answer errors with RFC 9457 problem details. Which class means which status is in `app.http.catalog`.

How an error looks, and how pydantic's become sentences about fields, is in `app.http.faults`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from app.domain import errors
from app.domain.uploads import WrongOffset
from app.http.auditing import OPEN
from app.http.bodies import UnsupportedMediaType
from app.http.catalog import CATALOG, SHARED_LIMITS, Kind, RangeNotSatisfiable, kind_of
from app.http.descriptions import PROBLEM
from app.http.faults import FieldProblem, field_problems
from app.metrics import Metrics
from app.store.availability import DatabaseUnavailable
from app.store.bucket import ObjectStoreUnavailable
from app.store.database import in_a_line, is_outage
from app.store.model_store import FileTooLarge, StoreUnavailable
from tcsfeel import errors as refusals
from tcsfeel.contract.sentences import summary
from tcsfeel.text import plain
from tcsfeel.wire.resuming import UPLOAD_OFFSET

log = structlog.get_logger(__name__)


class ProblemResponse(JSONResponse):
    """Problem details as JSON. Characters that UTF-8 cannot encode, such as a lone surrogate, become ``?``."""

    media_type = PROBLEM

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
    app.add_exception_handler(WrongOffset, _offset)
    for cls in (errors.LimitReached, errors.StorageLimitReached):
        app.add_exception_handler(cls, _limited)
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
    headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
    return problem(kind_of(error), str(error), headers=headers)


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


async def _offset(_request: Request, error: Exception) -> Response:
    assert isinstance(error, WrongOffset)  # noqa: S101  (the handler is registered for this class)
    fields = [FieldProblem(pointer="/header/upload-offset", detail=f"should be {error.offset}")]
    return problem(CATALOG[WrongOffset], str(error), fields, {UPLOAD_OFFSET: str(error.offset)})


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
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        request.app.state.system.metrics.limited.labels(SHARED_LIMITS[FileTooLarge]).inc()
    kind = next((kind for kind in CATALOG.values() if kind.status == status and status in _SHARED), None)
    kind = kind or Kind(status, status.phrase.lower().replace(" ", "-"), status.phrase)
    return problem(kind, detail, headers=headers)


_SHARED = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.NOT_FOUND}
LONGEST_PATH = 200  # characters of it that an answer repeats


def _allowed(request: Request) -> list[str]:
    """List the methods of all routes at the request's path, since the framework names those of only one route."""
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    found = {
        method
        for method in methods
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in request.app.routes)
    }
    if "GET" in found and request.scope["path"] in OPEN:
        found.add("HEAD")
    return sorted(found)


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
