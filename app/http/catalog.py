"""Which class of errors means which status of HTTP, in one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import ClientDisconnect

from app.domain import errors
from app.domain.uploads import WrongOffset
from app.http.bodies import TooSlow, UnsupportedMediaType
from app.http.browsers import ForeignPage
from app.http.readers import KeyForPage
from app.memory import NoMemoryFree, TooManyAnswers
from app.services.access.audit import AuditTrailFull
from app.services.access.issuer import IssuerUnavailable
from app.services.access.keys import Unauthenticated
from app.services.access.oidc import NoRole
from app.services.events.feed import TooManyReaders
from app.services.rounds.planning import StrategyOverdue
from app.services.rounds.waits import Stopping, TooManyWaits
from app.services.tasks.appends import BrokenOff
from app.services.tasks.deliveries import CorruptedResult, WrongResultSignature
from app.services.trainings.idempotency import KeyReused
from app.store.availability import DatabaseUnavailable
from app.store.bucket import ObjectStoreUnavailable
from app.store.model_store import FileTooLarge, StoreUnavailable
from tcsfeel import errors as refusals
from tcsfeel.errors import Picklable
from tcsfeel.inbound import Crowded


class RangeNotSatisfiable(Picklable):
    """The ``Range`` asks only for bytes that a file of `size` bytes does not have."""

    def __init__(self, size: int) -> None:
        super().__init__(f"should be bytes=FIRST-LAST within the {size} bytes of the file")
        self.size = size


class ForeignVersion(Picklable):
    """`If-Match` names other versions of a body than the one that there is, which has the ETag `etag`."""

    def __init__(self, etag: str) -> None:
        super().__init__(f"If-Match names another version of the body than {etag}: ask for all of it")


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
    errors.Forbidden: Kind(HTTPStatus.FORBIDDEN, "forbidden", "The key does not allow this"),
    errors.InvitationNeeded: Kind(HTTPStatus.FORBIDDEN, "invitation-needed", "Clients register with an invitation"),
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
    NoRole: Kind(HTTPStatus.FORBIDDEN, "forbidden", "The key does not allow this"),
    IssuerUnavailable: Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "issuer-unavailable",
        "The issuer of tokens does not answer",
        {"Retry-After": "5"},
    ),
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
    ForeignPage: Kind(HTTPStatus.FORBIDDEN, "foreign-page", "Web pages of other sites may not call this server"),
    ClientDisconnect: Kind(
        HTTPStatus.BAD_REQUEST, "incomplete", "The connection was closed before the request was complete"
    ),
    BrokenOff: Kind(HTTPStatus.BAD_REQUEST, "incomplete", "The connection was closed before the request was complete"),
    WrongOffset: Kind(HTTPStatus.CONFLICT, "wrong-offset", "The upload ends at another byte"),
    ForeignVersion: Kind(HTTPStatus.PRECONDITION_FAILED, "precondition-failed", "The body is another version"),
    TooSlow: Kind(HTTPStatus.REQUEST_TIMEOUT, "too-slow", "The request body arrives too slowly"),
    CorruptedResult: Kind(HTTPStatus.BAD_REQUEST, "corrupted", "The body was corrupted on the way"),
    WrongResultSignature: Kind(HTTPStatus.FORBIDDEN, "wrong-signature", "The result is not signed by its device"),
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
    errors.StorageLimitReached: Kind(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "limit-reached", "A limit of the server is reached"
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
    TooManyReaders: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "crowded", "The server is too busy", {"Retry-After": "5"}),
    TooManyAnswers: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "crowded", "The server is too busy", {"Retry-After": "5"}),
    AuditTrailFull: Kind(
        HTTPStatus.SERVICE_UNAVAILABLE, "audit-unavailable", "The call cannot be recorded", {"Retry-After": "5"}
    ),
    Stopping: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "The server is stopping", {"Retry-After": "1"}),
    RangeNotSatisfiable: Kind(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "The range is outside the file"
    ),
}

SHARED_LIMITS: Mapping[type[Exception], str] = {
    Crowded: "connections",
    FileTooLarge: "body_bytes",
    NoMemoryFree: "memory",
    TooManyAnswers: "long_answers",
    TooManyWaits: "waits",
    TooManyReaders: "streams",
}
"""The name, in the metric, of each limit that callers share or that has no setting of its own."""


def kind_of(error: Exception) -> Kind:
    """Find the catalog's entry for the error's class, or for its nearest base class."""
    return next(CATALOG[cls] for cls in type(error).__mro__ if cls in CATALOG)
