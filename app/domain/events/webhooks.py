"""Events of webhooks. They are not sent to webhooks."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from app.domain.events.event import Event, Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class OfWebhook(Event):
    """The base of events of one webhook."""

    subject: ClassVar[Subject] = "webhook"

    webhook_id: Annotated[str, "the id of the webhook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookCreated(OfWebhook):
    """An admin made a webhook."""

    type: ClassVar[str] = "webhook.created"

    host: Annotated[str, "the host of its URL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChanged(OfWebhook):
    """An admin changed a webhook."""

    type: ClassVar[str] = "webhook.changed"

    fields: Annotated[tuple[str, ...], "the names of the fields that were given"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRemoved(OfWebhook):
    """An admin removed a webhook."""

    type: ClassVar[str] = "webhook.removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDisabled(OfWebhook):
    """The receiver of a webhook answered 410, so nothing is sent to it any more."""

    type: ClassVar[str] = "webhook.disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDied(OfWebhook):
    """The delivery of an event was given up after all its tries. An operator can send it again."""

    type: ClassVar[str] = "webhook.delivery_died"

    event_id: Annotated[int, "the id of the event"]
    reason: Annotated[str, "why the last try failed"]
