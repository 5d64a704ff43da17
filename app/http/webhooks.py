"""Show webhooks and their deliveries in answers."""

from app.domain.webhooks import Delivery, Webhook
from app.services.webhooks.webhooks import NewWebhook
from tcsfeel.contract.webhooks import DeadDeliveryOut, NewWebhookOut, WebhookOut

_SHOWN = tuple(WebhookOut.model_fields)


def webhook_out(webhook: Webhook) -> WebhookOut:
    """Show a webhook without its secret."""
    return WebhookOut(**{name: getattr(webhook, name) for name in _SHOWN})


def new_webhook_out(new: NewWebhook) -> NewWebhookOut:
    """Show a webhook that was just made, with its secret."""
    return NewWebhookOut(secret=new.secret, **{name: getattr(new.webhook, name) for name in _SHOWN})


def dead_delivery_out(delivery: Delivery) -> DeadDeliveryOut:
    """Show a delivery that was given up."""
    return DeadDeliveryOut(
        event_id=delivery.event_id,
        type=delivery.type,
        attempts=delivery.attempts,
        died_at=delivery.next_at,
        status=delivery.status,
        problem=delivery.problem,
    )
