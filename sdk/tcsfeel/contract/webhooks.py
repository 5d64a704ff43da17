"""Webhooks in requests and responses."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from tcsfeel.contract.fields import (
    ID_PATTERN,
    AgentUrl,
    Instant,
    PlainText,
    RequestModel,
    ResponseModel,
    wrong_fields,
)

TYPE_PATTERN = r"^[a-z_]{1,32}\.[a-z_]{1,31}$"
MOST_TYPES = 50
MOST_IDS = 1000
REDELIVERIES: list[Any] = [{"event_ids": [4711]}]

EventType = Annotated[str, Field(pattern=TYPE_PATTERN)]
Types = Annotated[
    list[EventType],
    Field(max_length=MOST_TYPES, description="Only events of these types; all if it is empty"),
]
OfTraining = Annotated[str | None, Field(pattern=ID_PATTERN, description="Only events of this training")]
ReceiverUrl = Annotated[AgentUrl, Field(description="Where events are sent: http or https, without a query")]


class CreateWebhook(RequestModel):
    """A new webhook."""

    model_config = {
        "json_schema_extra": {
            "examples": [{"url": "https://example.com/tcsfeel", "types": ["training.completed", "training.failed"]}]
        }
    }

    url: ReceiverUrl
    types: Types = []
    training_id: OfTraining = None
    name: Annotated[PlainText | None, Field(description="Tells people what it is for")] = None


class ChangeWebhook(RequestModel):
    """The fields to change. Fields that are left out stay as they are."""

    model_config = {"json_schema_extra": {"examples": [{"enabled": True}]}}

    url: ReceiverUrl | None = None
    types: Types | None = None
    training_id: OfTraining = None
    name: Annotated[PlainText | None, Field(description="`null` removes it")] = None
    enabled: Annotated[bool | None, Field(description="Whether events are sent")] = None

    @model_validator(mode="after")
    def _null_only_where_it_may_be(self) -> "ChangeWebhook":
        sent = self.model_fields_set - {"training_id", "name"}
        nulls = sorted(name for name in sent if getattr(self, name) is None)
        if nulls:
            raise wrong_fields(((name,), "cannot be null: leave it out to keep its value") for name in nulls)
        return self


class RedeliverEvents(RequestModel):
    """Which dead deliveries are to be tried again."""

    event_ids: Annotated[
        list[Annotated[int, Field(ge=1, le=2**63 - 1)]] | None,
        Field(max_length=MOST_IDS, description="Those of these events; without it, all"),
    ] = None


class WebhookOut(ResponseModel):
    """A webhook, without its secret."""

    id: str
    name: str | None
    url: str
    types: list[str]
    training_id: str | None
    enabled: Annotated[bool, Field(description="`false` if an admin said so, or if the receiver answered 410")]
    cursor: Annotated[int, Field(description="The id of the last event that it got, or that waits to be tried again")]
    created_at: Instant
    created_by: Annotated[str, Field(description="The name of the caller that made it")]
    updated_at: Instant
    delivered_at: Annotated[Instant | None, Field(description="When it took an event the last time")]
    failing_since: Annotated[Instant | None, Field(description="Since when it has not taken events")]
    problem: Annotated[str | None, Field(description="Why the last try failed; null if it succeeded")]


class NewWebhookOut(WebhookOut):
    """A webhook that was just made."""

    secret: Annotated[str, Field(description="What signs its deliveries (`whsec_…`). It is shown only in this answer")]


class DeadDeliveryOut(ResponseModel):
    """An event that was given up after all its tries."""

    event_id: int
    type: Annotated[str, Field(description="The type of the event")]
    attempts: Annotated[int, Field(description="How often it was tried")]
    died_at: Annotated[Instant, Field(description="When it was given up")]
    status: Annotated[int | None, Field(description="The status of the last answer; null if there was none")]
    problem: Annotated[str | None, Field(description="Why the last try failed")]


class RedeliveredOut(ResponseModel):
    """How many deliveries are tried again."""

    redelivered: Annotated[
        int, Field(description="How many; the receiver gets them within seconds, or once the webhook is enabled")
    ]
