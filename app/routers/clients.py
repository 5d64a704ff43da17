"""``/v1/clients``: registration, liveness and breakers."""

import re
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Query, Request, Response, status
from pydantic import BeforeValidator, ValidationError

from app.domain.principals import ADMIN, LOCAL_CALLER, Principal
from app.http.answers import client_out
from app.http.batches import registrations
from app.http.bodies import JSON, ContentType, require_json, whole
from app.http.deps import AnswerPlace, AppBreakers, AppClients, AppOutcomes, AppPrincipal, wired
from app.http.descriptions import json_body, responses, with_headers
from app.http.pages import Cursor, Limit, decode_cursor, page_of
from app.http.quotations import shown_to
from app.http.requests import changes, profile, report
from app.http.roles import Needs
from app.http.routes import ApiRoute, shortcut
from app.http.writing import written
from app.origins import AGENT, acting
from app.threads import in_thread
from tcsfeel.contract.clients import (
    BATCH_BYTES,
    HEARTBEATS,
    MOST_TAGS,
    BreakerOut,
    ChangeClient,
    ClientOut,
    ClientsOut,
    Heartbeat,
    MeasuredOut,
    RegisterClient,
    ReplaceClient,
)
from tcsfeel.contract.fields import ID_PATTERN, TAG_PATTERN
from tcsfeel.contract.outcomes import OutcomeOut, ReportOutcome
from tcsfeel.contract.pages import Page
from tcsfeel.errors import Invalid

router = APIRouter(prefix="/v1/clients", tags=["clients"], route_class=ApiRoute)

_ID = re.compile(ID_PATTERN)
_TAKEN = Response(status_code=status.HTTP_204_NO_CONTENT, media_type=JSON)
_LOCATION = with_headers(Location="The client's path")

Id = Annotated[str, Path(pattern=ID_PATTERN, examples=["edge-7"])]
Tag = Annotated[
    list[Annotated[str, Query(pattern=TAG_PATTERN, max_length=520)]],
    Query(
        max_length=MOST_TAGS,
        description="Only clients with this tag, as `key:value`; with several, clients that have all of them",
        examples=[["site:north"]],
    ),
]


def true_or_false(value: Any) -> Any:
    """Refuse other words for the two, which pydantic would take."""
    if value not in {"true", "false", True, False}:
        raise ValueError("should be true or false")
    return value


Healthy = Annotated[
    Annotated[bool, BeforeValidator(true_or_false)] | None,
    Query(description="`true`: only clients that are healthy; `false`: only those that are `suspect` or `down`"),
]
BreakerState = Annotated[
    Literal["closed", "open", "half_open"] | None, Query(description="Only clients whose breaker is in this state")
]


def _sent_by(principal: Principal, *, agent: bool = True) -> AbstractContextManager[None]:
    """Name an agent as the actor of the block, if the call is an agent's and its key does not say whose it is."""
    return acting(AGENT if agent and principal in {ADMIN, LOCAL_CALLER} else None)


@router.post(
    "",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_201_CREATED,
    responses=responses(409, 413, 415, also={201: _LOCATION}),
)
async def register_client(
    body: RegisterClient, clients: AppClients, principal: AppPrincipal, response: Response
) -> ClientOut:
    """Register a client."""
    with _sent_by(principal, agent=body.instance is not None):
        (client,) = await clients.register([(body.id, profile(body))], {body.id: body.instance}, by=principal)
    response.headers["Location"] = f"/v1/clients/{client.id}"
    return client_out(client)


@router.post(
    "/batch",
    status_code=status.HTTP_201_CREATED,
    openapi_extra=Needs.operator | json_body("RegisterClients"),
    response_model=ClientsOut,
    responses=responses(409, 413, 415),
)
async def register_clients(
    request: Request, clients: AppClients, principal: AppPrincipal, place: AnswerPlace, content_type: ContentType = ""
) -> Response:
    """Register up to 10 000 clients, all or none."""
    require_json(content_type)
    body = await whole(request, BATCH_BYTES)
    profiles, instances = await in_thread("messages", registrations, body)
    registered = await clients.register(profiles, instances, by=principal)
    async with place:
        answer = await written(lambda: ClientsOut(items=[client_out(client) for client in registered]))
    answer.status_code = status.HTTP_201_CREATED
    return answer


@router.get("", openapi_extra=Needs.viewer, response_model=Page[ClientOut], responses=responses(422))
async def list_clients(
    *,
    clients: AppClients,
    principal: AppPrincipal,
    place: AnswerPlace,
    status: Annotated[Literal["healthy", "suspect", "down"] | None, Query()] = None,
    healthy: Healthy = None,
    breaker: BreakerState = None,
    tag: Tag = [],  # noqa: B006  (FastAPI copies defaults)
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """List clients in the order of their ids."""
    after = decode_cursor(cursor, str)
    tags = [(key, value) for key, _, value in (entry.partition(":") for entry in tag)]
    async with place:
        found = await clients.page(
            limit=limit,
            after=after[0] if after else None,
            status=status,
            tags=tags,
            healthy=healthy,
            breaker=breaker,
        )
        return await written(
            lambda: page_of(found, lambda client: shown_to(principal, client_out(client)), lambda client: (client.id,))
        )


@router.get("/{client_id}", openapi_extra=Needs.viewer_or_own_client, responses=responses(404))
async def get_client(client_id: Id, clients: AppClients, principal: AppPrincipal) -> ClientOut:
    """Read a client."""
    return shown_to(principal, client_out(await clients.get(client_id)))


@router.put(
    "/{client_id}",
    openapi_extra=Needs.operator_or_own_client,
    responses=responses(413, 415, also={201: {"model": ClientOut, "description": "Registered"} | _LOCATION}),
)
async def put_client(
    client_id: Id, body: ReplaceClient, clients: AppClients, principal: AppPrincipal, response: Response
) -> ClientOut:
    """Register a client, or replace its profile if it exists. Agents call this when they start."""
    if body.id not in {None, client_id}:
        raise Invalid("/id", f"should be the id in the path, {client_id!r}, or be left out")
    with _sent_by(principal, agent=body.instance is not None):
        client, is_new = await clients.put(client_id, profile(body), body.instance, by=principal)
    if is_new:
        response.status_code = status.HTTP_201_CREATED
        response.headers["Location"] = f"/v1/clients/{client_id}"
    return shown_to(principal, client_out(client))


@router.patch("/{client_id}", openapi_extra=Needs.operator_or_own_client, responses=responses(404, 413, 415))
async def change_client(client_id: Id, body: ChangeClient, clients: AppClients, principal: AppPrincipal) -> ClientOut:
    """Change some fields of a client's profile. A new address clears `auth_token` unless the request has a new one."""
    return shown_to(principal, client_out(await clients.change(client_id, changes(body))))


@router.delete(
    "/{client_id}", openapi_extra=Needs.operator, status_code=status.HTTP_204_NO_CONTENT, responses=responses(404)
)
async def remove_client(client_id: Id, clients: AppClients) -> None:
    """Remove a client; the rounds that it took part in stay in the history."""
    await clients.remove(client_id)


async def usual_heartbeat(request: Request) -> Response | None:
    """Take a heartbeat as agents send it. Any other one is for `heartbeat`."""
    client_id, body = request.path_params["client_id"], await request.body()
    if not _ID.fullmatch(client_id) or (body and request.headers.get("Content-Type") != JSON):
        return None
    try:
        measured = Heartbeat.model_validate_json(body) if body else None
    except ValidationError:
        return None
    await heartbeat(client_id, wired(request).clients, request.state.principal, measured)
    return _TAKEN


@router.post(
    "/{client_id}/heartbeat",
    openapi_extra=Needs.operator_or_own_client,
    status_code=status.HTTP_204_NO_CONTENT,
    responses=responses(404, 413, 415),
)
@shortcut(usual_heartbeat)
async def heartbeat(
    client_id: Id,
    clients: AppClients,
    principal: AppPrincipal,
    body: Annotated[Heartbeat | None, Body(examples=HEARTBEATS)] = None,
) -> None:
    """Report that the client is alive, with the bandwidth and latency that its agent measured, if it did."""
    measured = body or Heartbeat()
    with _sent_by(principal):
        await clients.heartbeat(
            client_id, bandwidth=measured.bandwidth, latency=measured.latency, instance=measured.instance
        )


@router.post("/{client_id}/outcomes", openapi_extra=Needs.operator, responses=responses(404, 413, 415))
async def report_outcome(
    client_id: Id, body: ReportOutcome, outcomes: AppOutcomes, principal: AppPrincipal
) -> OutcomeOut:
    """Report how a call of a client ended that your own program made, for the client's breaker and averages."""
    client = await outcomes.report(client_id, report(body), by=principal.name)
    return OutcomeOut(
        client_id=client.id,
        status=client.status,
        breaker=BreakerOut.of(client.breaker),
        measured=MeasuredOut.of(client.measured),
    )


@router.get("/{client_id}/breaker", openapi_extra=Needs.viewer, responses=responses(404))
async def get_breaker(client_id: Id, breakers: AppBreakers, principal: AppPrincipal) -> BreakerOut:
    """Read the circuit breaker in front of a client."""
    return shown_to(principal, BreakerOut.of(await breakers.get(client_id)))


@router.post("/{client_id}/breaker/reset", openapi_extra=Needs.operator, responses=responses(404))
async def reset_breaker(client_id: Id, breakers: AppBreakers) -> BreakerOut:
    """Close a client's breaker by hand."""
    return BreakerOut.of(await breakers.reset(client_id))


@router.post("/{client_id}/breaker/open", openapi_extra=Needs.operator, responses=responses(404))
async def open_breaker(client_id: Id, breakers: AppBreakers) -> BreakerOut:
    """Isolate a client by hand, until its breaker is reset."""
    return BreakerOut.of(await breakers.isolate(client_id))
