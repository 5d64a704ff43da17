"""What the audit trail records of a request: who made it, from where, what it was, and how it was answered.

Recorded are calls of ``/v1`` that may change something, downloads of models, calls of any path that are refused (4xx),
and connections that the server refuses before there is a call. A change that succeeds has a record of its own; the
others are counted (`Tally`), downloads apart from refusals. A client's heartbeat, or the result of its task, is
recorded only if it is refused: a fleet sends millions. No body, no query and no header is recorded, except the
``Location`` of what a call has made, and the client of a device that has enrolled.
"""

from http import HTTPStatus

from starlette.requests import Request
from starlette.types import Scope

from app.domain.audit import Call
from app.domain.principals import Principal
from app.services.access.audit import AuditTrail
from tcsfeel.text import escaped

NOBODY = "unknown caller"
"""The actor of a call without a valid key."""
TELLING = frozenset(
    {
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.GONE,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    }
)
"""Statuses that tell a reader how things are. All others from 400 to 499 say that the call itself was refused."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CHANGE_NOTHING = frozenset(
    {
        "POST /v1/clients/{client_id}/heartbeat",
        "POST /v1/selections",
        "PUT /v1/clients/{client_id}/tasks/{task_id}/result",  # the history of its round has it
    }
)
"""Operations that are recorded only if they are refused, although their methods may change something."""
RECORDED_READS = frozenset({"GET /v1/trainings/{training_id}/model"})
OPEN = frozenset({"/", "/docs", "/healthz", "/metrics", "/openapi.json", "/readyz"})
OTHER_PATH = "other path"
"""The operation of a call of any other path that does not exist. A caller could send ever new paths."""
CONNECTION = "connection"
"""The operation of a connection that was refused before there was a call."""
LONGEST = 64  # characters of a parameter, of an address, of the id of a key
LONGEST_ACTOR = 128
LONGEST_LOCATION = 256  # a path with several ids
_KEY = "tcsfeel.attempt"


class Attempt:
    """One request, from its begin to its answer. The middleware begins and ends it, and the route fills it in."""

    __slots__ = ("_address", "_has_place", "_operation", "_parameters", "_path", "_trail", "caller")

    def __init__(self, trail: AuditTrail | None = None, address: str = "", path: str = "") -> None:
        self.caller: Principal | None = None
        self._trail = trail
        self._address = address
        self._path = path
        self._operation = ""
        self._parameters: dict[str, object] = {}
        self._has_place = False

    @classmethod
    def at(cls, scope: Scope, trail: AuditTrail | None) -> "Attempt":
        """Begin an attempt for the request of this scope. Without a trail it is not recorded."""
        address = scope["client"][0] if scope.get("client") else ""
        attempt = scope[_KEY] = cls(trail, address, scope["path"])
        return attempt

    @classmethod
    def of(cls, request: Request) -> "Attempt":
        """Find the attempt of a request. Without the middleware there is none, and what is told of it is forgotten."""
        found: Attempt = request.scope.get(_KEY) or cls()
        return found

    def name(self, operation: str, request: Request) -> None:
        """Say which operation of ``/v1`` is attempted."""
        self._operation, self._parameters = operation, request.path_params

    def add(self, **parameters: str) -> None:
        """Name what the call has made, beside the values in its path."""
        self._parameters = {**self._parameters, **parameters}

    def admit(self) -> None:
        """Take the place for the record, before anything is changed or downloaded. Raises `AuditTrailFull`."""
        if self._trail is None:
            return
        if _may_change(self._operation):
            self._trail.take_place()
            self._has_place = True
        elif self._operation in RECORDED_READS:
            self._trail.check_place()

    def end(self, status: int, request_id: str, location: str = "") -> None:
        """Record the request as it was answered, with the path of what it has made, if the answer names a `location`.

        With a status of 0 the answer was never begun.
        """
        if self._trail is None:
            return
        if location and self._operation.startswith("POST "):
            self.add(location=location)
        if self._has_place:
            self._trail.give_back_place()
        if not self._operation:
            if _is_wrong(status):
                self._trail.count(self._call(self._path if self._path in OPEN else OTHER_PATH, status, request_id))
            return
        status = status or HTTPStatus.INTERNAL_SERVER_ERROR
        may_change = _may_change(self._operation)
        if may_change and status < HTTPStatus.BAD_REQUEST:
            self._trail.record(self._call(self._operation, status, request_id))
        elif may_change or self._operation in RECORDED_READS or (_is_wrong(status) and status not in TELLING):
            self._trail.count(self._call(self._operation, status, request_id))

    def _call(self, operation: str, status: int, request_id: str) -> Call:
        by = self.caller
        parameters = [(name, escaped(str(value), _longest(name))) for name, value in sorted(self._parameters.items())]
        return Call(
            actor=NOBODY if by is None else escaped(by.name, LONGEST_ACTOR)[:LONGEST_ACTOR],
            role=None if by is None else by.role,
            key_id=None if by is None else by.key_id,
            address=_shown(self._address),
            operation=operation,
            parameters=() if by is None else tuple(parameters),  # a caller without a key could send ever new ones
            status=int(status),
            request_id=request_id,
        )


def refused_connection(trail: AuditTrail, address: str, status: int) -> None:
    """Record a connection from an address that the server refused with a status before there was a call."""
    trail.count(Call(actor=NOBODY, address=_shown(address), operation=CONNECTION, status=int(status)))


def _longest(parameter: str) -> int:
    return LONGEST_LOCATION if parameter == "location" else LONGEST


def _shown(address: str) -> str:
    return escaped(address, LONGEST)[:LONGEST]


def _is_wrong(status: int) -> bool:
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR


def _may_change(operation: str) -> bool:
    return operation.partition(" ")[0] not in SAFE and operation not in CHANGE_NOTHING
