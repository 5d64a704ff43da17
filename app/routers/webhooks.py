"""``/v1/webhooks``: receivers to which events are sent."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response, status

from app.http.deps import AppPrincipal, AppWebhooks
from app.http.descriptions import responses, with_headers
from app.http.pages import Cursor, Limit, decode_cursor, page_of
from app.http.roles import Needs
from app.http.routes import ApiRoute
from app.http.webhooks import dead_delivery_out, new_webhook_out, webhook_out
from tcsfeel.contract.fields import ID_PATTERN
from tcsfeel.contract.pages import Page
from tcsfeel.contract.webhooks import (
    REDELIVERIES,
    ChangeWebhook,
    CreateWebhook,
    DeadDeliveryOut,
    NewWebhookOut,
    RedeliveredOut,
    RedeliverEvents,
    WebhookOut,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=ApiRoute)

_LOCATION = with_headers(Location="The webhook's path")

Id = Annotated[str, Path(pattern=ID_PATTERN, examples=["9f2c4b7a1d3e5f60"])]


@router.post(
    "",
    openapi_extra=Needs.admin,
    status_code=status.HTTP_201_CREATED,
    responses=responses(413, 415, also={201: _LOCATION}),
)
async def create_webhook(
    body: CreateWebhook, webhooks: AppWebhooks, principal: AppPrincipal, response: Response
) -> NewWebhookOut:
    """Make a webhook, which gets the events from now on. Its secret is in this answer and nowhere else."""
    new = await webhooks.create(
        url=body.url,
        types=body.types,
        training_id=body.training_id,
        name=body.name,
        created_by=principal.name,
    )
    response.headers["Location"] = f"/v1/webhooks/{new.webhook.id}"
    return new_webhook_out(new)


@router.get("", openapi_extra=Needs.operator)
async def list_webhooks(*, webhooks: AppWebhooks, limit: Limit = 100, cursor: Cursor = None) -> Page[WebhookOut]:
    """List the webhooks, newest first, without their secrets."""
    after = decode_cursor(cursor, float, str)
    found = await webhooks.page(limit=limit, after=(after[0], after[1]) if after else None)
    return page_of(found, webhook_out, lambda one: (one.created_at, one.id))


@router.get("/{webhook_id}", openapi_extra=Needs.operator, responses=responses(404))
async def get_webhook(webhook_id: Id, webhooks: AppWebhooks) -> WebhookOut:
    """Read a webhook, and whether its receiver takes events."""
    return webhook_out(await webhooks.get(webhook_id))


@router.patch("/{webhook_id}", openapi_extra=Needs.admin, responses=responses(404, 413, 415))
async def change_webhook(webhook_id: Id, body: ChangeWebhook, webhooks: AppWebhooks) -> WebhookOut:
    """Change a webhook. One that is enabled again gets the events that it has missed."""
    return webhook_out(await webhooks.change(webhook_id, body.model_dump(exclude_unset=True)))


@router.delete(
    "/{webhook_id}", openapi_extra=Needs.admin, status_code=status.HTTP_204_NO_CONTENT, responses=responses(404)
)
async def remove_webhook(webhook_id: Id, webhooks: AppWebhooks) -> None:
    """Remove a webhook, with the deliveries that were given up."""
    await webhooks.remove(webhook_id)


@router.get("/{webhook_id}/dead-letters", openapi_extra=Needs.operator, responses=responses(404))
async def list_dead_letters(
    *,
    webhook_id: Id,
    webhooks: AppWebhooks,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DeadDeliveryOut]:
    """List the deliveries that were given up after all their tries, oldest event first."""
    after = decode_cursor(cursor, float)
    found = await webhooks.dead(webhook_id, limit=limit, after=int(after[0]) if after else None)
    return page_of(found, dead_delivery_out, lambda one: (float(one.event_id),))


@router.post("/{webhook_id}/redeliver", openapi_extra=Needs.operator, responses=responses(404, 413, 415))
async def redeliver_events(
    webhook_id: Id, webhooks: AppWebhooks, body: Annotated[RedeliverEvents | None, Body(examples=REDELIVERIES)] = None
) -> RedeliveredOut:
    """Try dead deliveries again: those of some events, or all."""
    return RedeliveredOut(redelivered=await webhooks.redeliver(webhook_id, None if body is None else body.event_ids))
