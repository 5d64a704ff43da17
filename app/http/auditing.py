"""What the audit trail records of a request: who made it, from where, what it was, and how it was answered.

Recorded are calls of ``/v1`` that may change something, downloads of models, and calls that are refused because of who
makes them. A change that succeeds has a record of its own; the others are counted (`Tally`), downloads apart from
refusals. A client's heartbeat is recorded only if it is refused: a fleet sends millions. No body, no query and no
header is recorded.
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
REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CHANGE_NOTHING = frozenset({"POST /v1/clients/{client_id}/heartbeat", "POST /v1/selections"})
"""Operations that are recorded only if they are refused, although their methods may change something."""
RECORDED_READS = frozenset({"GET /v1/trainings/{training_id}/model"})
LONGEST = 64  # characters of a parameter, of an address, of the id of a key
LONGEST_ACTOR = 128
_KEY = "tcsfeel.attempt"


class Attempt:
    """One request, from its begin to its answer. The middleware begins and ends it, and the route fills it in."""

    __slots__ = ("_address", "_has_place", "_operation", "_parameters", "_trail", "caller")

    def __init__(self) -> None:
        self.caller: Principal | None = None
        self._address = ""
        self._trail: AuditTrail | None = None
        self._operation = ""
        self._parameters: dict[str, object] = {}
        self._has_place = False

    @classmethod
    def at(cls, scope: Scope) -> "Attempt":
        """Begin an attempt for the request of this scope."""
        attempt = scope[_KEY] = cls()
        return attempt

    @classmethod
    def of(cls, request: Request) -> "Attempt":
        """Find the attempt of a request. Without the middleware there is none, and what is told of it is forgotten."""
        found: Attempt = request.scope.get(_KEY) or cls()
        return found

    def name(self, trail: AuditTrail, operation: str, request: Request) -> None:
        """Say which operation is attempted, and from where."""
        self._trail, self._operation, self._parameters = trail, operation, request.path_params
        self._address = "" if request.client is None else request.client.host

    def admit(self) -> None:
        """Take the place for the record, before anything is changed or downloaded. Raises `AuditTrailFull`."""
        if self._trail is None:
            return
        if _may_change(self._operation):
            self._trail.take_place()
            self._has_place = True
        elif self._operation in RECORDED_READS:
            self._trail.check_place()

    def end(self, status: int, request_id: str) -> None:
        """Record the request as it was answered. With a status of 0 the answer was never begun."""
        if self._trail is None:
            return
        if self._has_place:
            self._trail.give_back_place()
        status = status or HTTPStatus.INTERNAL_SERVER_ERROR
        may_change = _may_change(self._operation)
        if may_change and status < HTTPStatus.BAD_REQUEST:
            self._trail.record(self._call(status, request_id))
        elif may_change or status in REFUSALS or self._operation in RECORDED_READS:
            self._trail.count(self._call(status, request_id))

    def _call(self, status: int, request_id: str) -> Call:
        by = self.caller
        parameters = [(name, escaped(str(value), LONGEST)) for name, value in sorted(self._parameters.items())]
        return Call(
            actor=NOBODY if by is None else escaped(by.name, LONGEST_ACTOR)[:LONGEST_ACTOR],
            role=None if by is None else by.role,
            key_id=None if by is None else by.key_id,
            address=escaped(self._address, LONGEST)[:LONGEST],
            operation=self._operation,
            parameters=() if by is None else tuple(parameters),  # a caller without a key could send ever new ones
            status=int(status),
            request_id=request_id,
        )


def _may_change(operation: str) -> bool:
    return operation.partition(" ")[0] not in SAFE and operation not in CHANGE_NOTHING
