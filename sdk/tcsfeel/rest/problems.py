"""The exceptions of calls of the REST API.

A refusal has the fields of its problem document (RFC 9457). Since they come from outside, each text is turned into one
line of limited length.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from tcsfeel.errors import Picklable
from tcsfeel.text import plain

LONGEST_DETAIL = 2000  # characters
MOST_ERRORS = 100  # fields that are read from one problem document
SHOWN_ERRORS = 3  # fields that the message shows


class ApiError(Picklable):
    """The base class of the errors of calls to a control plane."""


class NoAnswer(ApiError):
    """The control plane did not answer, or the connection was lost before the answer was complete.

    `sent` is false if the request has certainly not reached the server, so that it is always safe to repeat it.
    """

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.sent = sent


class UnexpectedAnswer(ApiError):
    """The answer does not follow the REST API: it is not JSON, has wrong fields, is too long, or is a wrong model."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field.

    `pointer` is a JSON pointer into the body, or begins with /query, /path or /header.
    """

    pointer: str
    detail: str


class Refused(ApiError):
    """The control plane refused the call.

    Attributes:
        status: the HTTP status.
        type: the URI that names the kind of problem, such as ``urn:tcsfeel:problem:not-found``.
        title: the kind of problem in words.
        detail: what is wrong this time.
        errors: the wrong fields, and what is wrong with each of them.
        retry_after: after how many seconds the server asks for another try, if it says so.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        type: str = "about:blank",  # noqa: A002  (the name that RFC 9457 gives it)
        title: str = "",
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.type = type
        self.title = title
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        fields = [f"{error.pointer} {error.detail}" for error in errors[:SHOWN_ERRORS] if error.detail not in detail]
        super().__init__("; ".join([f"{status} {detail}", *fields]))

    @property
    def kind(self) -> str:
        """The end of `type`, such as ``not-found``."""
        return self.type.rpartition(":")[2]


class Unauthenticated(Refused):
    """The key is missing or wrong (401)."""


class Forbidden(Refused):
    """The key does not allow the call (403)."""


class NotFound(Refused):
    """There is no such client, training, round, model or path (404)."""


class Conflict(Refused):
    """The current state does not allow the call (409), for example because an id is taken or a training has ended."""


class Removed(Refused):
    """The model version has been removed (410)."""


class TooLarge(Refused):
    """The body has more bytes than the server accepts (413)."""


class Invalid(Refused):
    """A field, a parameter or a header is wrong (400, 415, 416, 422); `errors` names them."""


class Unavailable(Refused):
    """The server cannot answer at the moment (429, 502, 503, 504, 507); `retry_after` may say when it can."""


class ServerFault(Refused):
    """The server failed, and a repeat would not help (any other 5xx)."""


_KINDS: Mapping[int, type[Refused]] = {
    HTTPStatus.BAD_REQUEST: Invalid,
    HTTPStatus.UNAUTHORIZED: Unauthenticated,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Removed,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: TooLarge,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Invalid,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: Invalid,
    HTTPStatus.UNPROCESSABLE_ENTITY: Invalid,
    HTTPStatus.TOO_MANY_REQUESTS: Unavailable,
    HTTPStatus.BAD_GATEWAY: Unavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: Unavailable,
    HTTPStatus.GATEWAY_TIMEOUT: Unavailable,
    HTTPStatus.INSUFFICIENT_STORAGE: Unavailable,
}


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refused:
    """Make the exception for an answer that is not a success, whatever its content is."""
    kind = _KINDS.get(status, ServerFault if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Refused)
    retry_after = _seconds(headers.get("Retry-After"))
    problem = _document(body)
    if problem is None:
        media_type = plain(headers.get("Content-Type", "no Content-Type"), 100)
        detail = f"{_phrase(status)} (the answer is not a problem document: {media_type}, {len(body)} bytes)"
        return kind(status, detail, title=_phrase(status), retry_after=retry_after)
    return kind(
        status,
        plain(problem["detail"], LONGEST_DETAIL),
        type=_text(problem.get("type")) or "about:blank",
        title=_text(problem.get("title")) or _phrase(status),
        errors=_errors(problem.get("errors")),
        retry_after=retry_after,
    )


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return problem if isinstance(problem, dict) and isinstance(problem.get("detail"), str) else None


def _errors(listed: object) -> tuple[FieldError, ...]:
    entries = listed[:MOST_ERRORS] if isinstance(listed, list) else []
    return tuple(
        FieldError(_text(entry.get("pointer")), _text(entry.get("detail")))
        for entry in entries
        if isinstance(entry, dict)
    )


def _text(value: object) -> str:
    return plain(value, LONGEST_DETAIL) if isinstance(value, str) else ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


def _seconds(retry_after: str | None) -> float | None:
    """Read a number of seconds or an HTTP date; return None for anything else."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
