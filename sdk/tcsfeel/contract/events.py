"""Events in responses. The catalog in ``docs/events.md`` lists their types and what their data mean."""

from typing import Annotated, Any

from pydantic import Field

from tcsfeel.contract.fields import Instant, ResponseModel


class EventOut(ResponseModel):
    """Something that happened."""

    id: Annotated[int, Field(description="It grows in the order of the log, and is the cursor of readers")]
    at: Annotated[Instant, Field(description="When it was written, by the clock of the database")]
    type: Annotated[str, Field(description="What happened", examples=["round.completed"])]
    training_id: Annotated[str | None, Field(description="The training that it is about")]
    round: Annotated[int | None, Field(description="The number of the round that it is about")]
    client_id: Annotated[str | None, Field(description="The client that it is about")]
    data: Annotated[dict[str, Any], Field(description="The fields of its type")]
    actor: Annotated[str | None, Field(description="Who caused it: the name of a key, a device, or a server")]
    request_id: Annotated[str | None, Field(description="The `X-Request-ID` of the call that caused it")]


class EventsOut(ResponseModel):
    """Some events, oldest first."""

    items: list[EventOut]
    cursor: Annotated[int, Field(description="Pass it as `after` to get the next events", examples=[4711])]
    more: Annotated[bool, Field(description="Whether others follow already")]
