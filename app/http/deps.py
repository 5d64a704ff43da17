"""The dependencies of routes, as annotated aliases. All come from `app.state.system`, made by the composition root."""

import hashlib
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, get_args

from fastapi import Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.domain.invitations import Invitation
from app.domain.principals import ADMIN, LOCAL_CALLER, Principal
from app.http.auditing import Attempt
from app.http.bodies import LEAST_RATE, PAUSE_SECONDS, announced, bounded, refuse_crowd, refuse_encoding
from app.http.browsers import refuse_foreign_pages
from app.http.descriptions import responses
from app.http.roles import Mark
from app.http.unparsable import unparsable
from app.memory import STREAMED_BYTES
from app.origins import acting
from app.services.access.api_keys import ApiKeys
from app.services.access.audit import AuditTrail
from app.services.access.enrolments import Enrolments
from app.services.access.invitations import Invitations
from app.services.access.keys import Unauthenticated
from app.services.access.limits import Caller
from app.services.events.feed import EventFeed
from app.services.fleet.clients import Clients
from app.services.fleet.connectivity import ConnectivityMatrix
from app.services.rounds.selections import Selections
from app.services.rounds.waits import RoundWaits
from app.services.system import System
from app.services.tasks.breakers import Breakers
from app.services.tasks.deliveries import Deliveries
from app.services.tasks.pulls import Pulls
from app.services.trainings.idempotency import IdempotentRequest
from app.services.trainings.models import Models
from app.services.trainings.trainings import Trainings
from app.settings import Settings, is_loopback
from tcsfeel.contract.fields import KEY_PATTERN, RequestModel
from tcsfeel.inbound import Pace, welcome

_bearer = HTTPBearer(auto_error=False)


def wired(request: Request) -> System:
    """Give the services of the application that received the request."""
    found: System = request.app.state.system
    return found


async def system(request: Request) -> System:
    return wired(request)  # a dependency that is not a coroutine would be called in a thread


AppSystem = Annotated[System, Depends(system)]


async def authenticate(request: Request) -> Principal:
    """Find out who calls. If authentication is off, admit programs on this machine."""
    found = wired(request)
    if found.settings.auth.enabled:
        given = await _bearer(request)
        by = await found.callers.identify(None if given is None else given.credentials)
    elif is_loopback(address_of(request)):
        refuse_foreign_pages(request)
        by = LOCAL_CALLER
    else:
        raise Unauthenticated
    welcome(request.scope)
    request.state.principal = by
    return by


async def invited(request: Request) -> Principal:
    """Find the invitation whose secret a device has sent. Returns the caller as events name it."""
    given = await _bearer(request)
    found = await wired(request).invitations.shown(None if given is None else given.credentials)
    welcome(request.scope)
    request.state.invitation = found
    return Principal("agent", f"invitation {found.id}")


def address_of(request: Request) -> str:
    """Give the caller's address, which tells apart callers that share a key."""
    return "" if request.client is None else request.client.host


def party_of(request: Request) -> str:
    """Give the name under which a caller shares memory and places with others: its key, else its address.

    The admin key counts by address, because many programs may have it.
    """
    by: Principal | None = getattr(request.state, "principal", None)
    return address_of(request) if by is None or by.key_id is None else f"key {by.key_id}"


async def party(request: Request) -> str:
    return party_of(request)


STREAMED = {"x-tcsfeel-body": "streamed"}
"""Put into a route's `openapi_extra` if the handler itself reads the body and limits its size."""
CODINGS = "x-tcsfeel-codings"
"""Lists, in a route's `openapi_extra`, the content codings of bodies that its handler accepts besides `identity`."""


class ApiRoute(APIRoute):
    """A route of ``/v1``. It checks the key and its role before it reads a body.

    The route's mark says which role it needs (`app.http.roles`). Parameters that the route does not know are refused.
    The model of a body limits its size. A route without a model accepts a small body. A route that describes its body
    in `openapi_extra` accepts one of the configured size, and its handler sets a lower limit.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        of_its_own = options.pop("responses", None) or {}
        super().__init__(path, endpoint, responses=responses(401, 403, 422, 429, 503) | of_its_own, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = {parameter.alias for parameter in self.dependant.query_params}
        model = _model(self.dependant.body_params[0].field_info.annotation) if self.dependant.body_params else None
        extra = self.openapi_extra or {}
        mark = Mark.of(extra, f"{sorted(self.methods or ())} {self.path}")

        async def guarded(request: Request) -> Response:
            attempt = Attempt.of(request)
            attempt.name(f"{request.method} {self.path_format}", request)
            if mark.role is None:
                with wired(request).limits.admitted(Caller("address", address_of(request))):
                    attempt.caller = await invited(request) if mark.invitation else None
                    with acting(None if attempt.caller is None else attempt.caller.name):
                        attempt.admit()
                        return await admitted(request)
            by = await authenticate(request)
            attempt.caller = by
            mark.check(by, request.path_params)
            caller = Caller("agent" if by.role == "agent" else "key", by.key_id or by.name)
            with acting(by.name), wired(request).limits.admitted(caller):
                attempt.admit()
                return await admitted(request)

        async def admitted(request: Request) -> Response:
            unknown = [name for name in request.query_params if name not in known]
            if unknown:
                raise RequestValidationError(
                    [{"type": "extra_forbidden", "loc": ("query", name), "msg": ""} for name in unknown]
                )
            found = wired(request)
            if model is not None or "requestBody" in extra:
                refuse_encoding(request, extra.get(CODINGS, ()))
            if extra.items() >= STREAMED.items():
                held_bytes = min(STREAMED_BYTES, announced(request) or STREAMED_BYTES)
                with found.upload_memory.holding(party_of(request), STREAMED_BYTES) as held:
                    held.grow(held_bytes)
                    return await handle(request)
            most = found.settings.max_body_bytes
            limit = most if "requestBody" in extra else min(most, (model or RequestModel).max_bytes)
            request.state.most_bytes = most  # for handlers that read the body themselves
            length = announced(request)
            most_held = limit if length is None else min(length, limit)
            with found.body_memory.holding(party_of(request), most_held) as held:
                if length is not None and length <= limit:  # a longer one is refused for that, as soon as it is read
                    held.announce(length)
                request = bounded(request, limit, held, Pace(PAUSE_SECONDS, LEAST_RATE))
                if model is None:
                    return await handle(request)
                body = await request.body()
                refuse_crowd(body, model.max_items)
                try:
                    return await handle(request)
                except HTTPException as error:
                    raise unparsable(body, error.__cause__) or error from error

        return guarded


def _model(annotation: Any) -> type[RequestModel]:
    """Find the model in the annotation of a body, which may be optional."""
    candidates = (annotation, *get_args(annotation))
    return next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, RequestModel))


async def idempotent_request(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=KEY_PATTERN,
            description="A repeated request with the same key gets the answer of the first one",
            examples=["9c7e1f"],
        ),
    ] = None,
) -> IdempotentRequest | None:
    """Identify a request that has a key, so that the same key with another body can be refused.

    The same key of another caller is another key. A caller keeps its own when its API key is rotated.
    """
    if idempotency_key is None:
        return None
    digest = hashlib.sha256(await request.body()).hexdigest()
    by: Principal = request.state.principal
    of_caller = "" if by in {ADMIN, LOCAL_CALLER} else f"{hashlib.sha256(by.name.encode()).hexdigest()[:16]} "
    return IdempotentRequest(f"{of_caller}{request.method} {request.url.path}", idempotency_key, digest)


async def departure(request: Request) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return a coroutine function that raises `ClientDisconnect` once the caller hangs up.

    It reads the rest of a body.
    """

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect

    return hung_up


async def answer_place(request: Request) -> AbstractAsyncContextManager[None]:
    """Return a context manager that holds one of the places for making long answers."""
    return wired(request).answer_places.one(party_of(request))


async def principal(request: Request) -> Principal:
    """Give the caller that the route has admitted."""
    found: Principal = request.state.principal
    return found


async def invitation(request: Request) -> Invitation:
    """Give the invitation whose secret the route has checked."""
    found: Invitation = request.state.invitation
    return found


async def attempt(request: Request) -> Attempt:
    """Give the attempt that the audit trail records."""
    return Attempt.of(request)


AppPrincipal = Annotated[Principal, Depends(principal)]
AppAttempt = Annotated[Attempt, Depends(attempt)]
Party = Annotated[str, Depends(party)]
ShownInvitation = Annotated[Invitation, Depends(invitation)]
AnswerPlace = Annotated[AbstractAsyncContextManager[None], Depends(answer_place)]
Departure = Annotated[Callable[[], Coroutine[Any, Any, None]], Depends(departure)]
Idempotent = Annotated[IdempotentRequest | None, Depends(idempotent_request)]


def _part(name: str) -> Any:
    """Make a dependency on one part of the system."""

    async def part(request: Request) -> Any:
        return getattr(wired(request), name)

    return Depends(part)


AppSettings = Annotated[Settings, _part("settings")]
AppKeys = Annotated[ApiKeys, _part("keys")]
AppAudit = Annotated[AuditTrail, _part("audit")]
AppInvitations = Annotated[Invitations, _part("invitations")]
AppEnrolments = Annotated[Enrolments, _part("enrolments")]
AppClients = Annotated[Clients, _part("clients")]
AppBreakers = Annotated[Breakers, _part("breakers")]
AppConnectivity = Annotated[ConnectivityMatrix, _part("connectivity")]
AppSelections = Annotated[Selections, _part("selections")]
AppTrainings = Annotated[Trainings, _part("trainings")]
AppFeed = Annotated[EventFeed, _part("feed")]
AppWaits = Annotated[RoundWaits, _part("waits")]
AppPulls = Annotated[Pulls, _part("pulls")]
AppDeliveries = Annotated[Deliveries, _part("deliveries")]
AppModels = Annotated[Models, _part("models")]
