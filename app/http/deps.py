"""The dependencies of routes, as annotated aliases.

Services come from `app.state.system`, made by the composition root, and what only HTTP needs from `app.state` itself.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.security import HTTPBearer
from starlette.requests import ClientDisconnect

from app.domain.invitations import Invitation
from app.domain.principals import ADMIN, LOCAL_CALLER, Principal
from app.http.auditing import Attempt
from app.http.browsers import comes_from_own_page, refuse_foreign_pages
from app.http.frames import Frames
from app.services.access.api_keys import ApiKeys
from app.services.access.audit import AuditTrail
from app.services.access.enrolments import Enrolments
from app.services.access.invitations import Invitations
from app.services.access.keys import Unauthenticated
from app.services.events.feed import EventFeed
from app.services.fleet.clients import Clients
from app.services.fleet.connectivity import ConnectivityMatrix
from app.services.fleet.outcomes import Outcomes
from app.services.rounds.selections import Selections
from app.services.rounds.waits import RoundWaits
from app.services.system import System
from app.services.tasks.appends import Appends
from app.services.tasks.breakers import Breakers
from app.services.tasks.deliveries import Deliveries
from app.services.tasks.pulls import Pulls
from app.services.trainings.idempotency import IdempotentRequest
from app.services.trainings.models import Models
from app.services.trainings.trainings import Trainings
from app.services.webhooks.webhooks import Webhooks
from app.settings import Settings, is_loopback
from tcsfeel.contract.fields import KEY_PATTERN
from tcsfeel.inbound import welcome

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
        by = await found.callers.identify(_key_of_session(request) if given is None else given.credentials)
    elif is_loopback(address_of(request)):
        refuse_foreign_pages(request)
        by = LOCAL_CALLER
    else:
        raise Unauthenticated
    welcome(request.scope, device=by.role == "agent")
    request.state.principal = by
    return by


def _key_of_session(request: Request) -> str | None:
    """Return the key that the cookie of the dashboard stands for. A page of another origin cannot use it."""
    sessions = wired(request).sessions
    sealed = request.cookies.get(sessions.cookie)
    return sessions.key_of(sealed) if sealed is not None and comes_from_own_page(request) else None


async def recheck(request: Request) -> Callable[[], Coroutine[Any, Any, Principal]]:
    """Return a coroutine function that finds out again who calls, for calls that last.

    It raises `Unauthenticated` once the key is revoked or has expired.
    """
    return partial(authenticate, request)


async def invited(request: Request) -> Principal:
    """Find the invitation whose secret a device has sent. Returns the caller as events name it."""
    given = await _bearer(request)
    found = await wired(request).invitations.shown(None if given is None else given.credentials)
    welcome(request.scope, device=True)
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
    """Return a coroutine function that raises an error once a call that waits has to end.

    It raises `ClientDisconnect` when the caller hangs up, and what `authenticate` raises when the caller's key has
    changed so that it is not valid any more. It reads the rest of a body.
    """

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect

    async def to_end() -> None:
        leaving = asyncio.create_task(hung_up())
        try:
            while True:
                await asyncio.wait({leaving, wired(request).callers.next_change}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    await leaving
                await authenticate(request)
        finally:
            leaving.cancel()

    return to_end


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


async def frames(request: Request) -> Frames:
    """Give the frames that the streams of this server share."""
    found: Frames = request.app.state.frames
    return found


async def attempt(request: Request) -> Attempt:
    """Give the attempt that the audit trail records."""
    return Attempt.of(request)


AppPrincipal = Annotated[Principal, Depends(principal)]
AppFrames = Annotated[Frames, Depends(frames)]
AppAttempt = Annotated[Attempt, Depends(attempt)]
Party = Annotated[str, Depends(party)]
ShownInvitation = Annotated[Invitation, Depends(invitation)]
AnswerPlace = Annotated[AbstractAsyncContextManager[None], Depends(answer_place)]
Recheck = Annotated[Callable[[], Coroutine[Any, Any, Principal]], Depends(recheck)]
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
AppOutcomes = Annotated[Outcomes, _part("outcomes")]
AppConnectivity = Annotated[ConnectivityMatrix, _part("connectivity")]
AppSelections = Annotated[Selections, _part("selections")]
AppTrainings = Annotated[Trainings, _part("trainings")]
AppFeed = Annotated[EventFeed, _part("feed")]
AppWaits = Annotated[RoundWaits, _part("waits")]
AppPulls = Annotated[Pulls, _part("pulls")]
AppWebhooks = Annotated[Webhooks, _part("webhooks")]
AppDeliveries = Annotated[Deliveries, _part("deliveries")]
AppAppends = Annotated[Appends, _part("appends")]
AppModels = Annotated[Models, _part("models")]
