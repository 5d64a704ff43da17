"""The operations of webhooks, one function for each, as in `operations.py`."""

from typing import Any

from tcsfeel.client.messages import call, part_of, with_body
from tcsfeel.client.operations import LIMIT
from tcsfeel.contract.pages import Page
from tcsfeel.contract.webhooks import (
    ChangeWebhook,
    CreateWebhook,
    DeadDeliveryOut,
    NewWebhookOut,
    RedeliveredOut,
    RedeliverEvents,
    WebhookOut,
)
from tcsfeel.rest.exchange import Request, Steps
from tcsfeel.rest.paths import path

WEBHOOK = "/v1/webhooks/{webhook_id}"


def create_webhook(webhook: CreateWebhook | None = None, **fields: Any) -> Steps[NewWebhookOut]:
    """Make a webhook, which gets the events from now on. Only this answer has its `secret`."""
    request = yield from with_body(Request("POST", "/v1/webhooks"), CreateWebhook, webhook, fields)
    return (yield from call(NewWebhookOut, request))


def list_webhooks(*, limit: int = LIMIT, cursor: str | None = None) -> Steps[Page[WebhookOut]]:
    """Read one page of the webhooks, newest first."""
    request = Request("GET", "/v1/webhooks", params=part_of(limit, cursor), repeatable=True)
    return (yield from call(Page[WebhookOut], request))


def get_webhook(webhook_id: str) -> Steps[WebhookOut]:
    """Read a webhook, and whether its receiver takes events."""
    return (yield from call(WebhookOut, Request("GET", path(WEBHOOK, webhook_id), repeatable=True)))


def change_webhook(webhook_id: str, changes: ChangeWebhook | None = None, **fields: Any) -> Steps[WebhookOut]:
    """Change a webhook. One that is enabled again gets the events that it has missed."""
    request = Request("PATCH", path(WEBHOOK, webhook_id), repeatable=True)
    return (yield from call(WebhookOut, (yield from with_body(request, ChangeWebhook, changes, fields))))


def remove_webhook(webhook_id: str) -> Steps[None]:
    """Remove a webhook, with the deliveries that were given up."""
    yield Request("DELETE", path(WEBHOOK, webhook_id), repeatable=True)


def list_dead_letters(
    webhook_id: str, *, limit: int = LIMIT, cursor: str | None = None
) -> Steps[Page[DeadDeliveryOut]]:
    """Read one page of the deliveries that were given up after all their tries, oldest event first."""
    where = path("/v1/webhooks/{webhook_id}/dead-letters", webhook_id)
    request = Request("GET", where, params=part_of(limit, cursor), repeatable=True)
    return (yield from call(Page[DeadDeliveryOut], request))


def redeliver_events(webhook_id: str, events: RedeliverEvents | None = None, **fields: Any) -> Steps[RedeliveredOut]:
    """Try dead deliveries again: those of some `event_ids`, or all."""
    request = Request("POST", path("/v1/webhooks/{webhook_id}/redeliver", webhook_id), repeatable=True)
    return (yield from call(RedeliveredOut, (yield from with_body(request, RedeliverEvents, events, fields))))
