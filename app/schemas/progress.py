"""The progress of trainings in responses."""

from typing import Annotated, Literal

from pydantic import Field

from app.schemas.fields import Instant, ResponseModel


class ProgressOut(ResponseModel):
    """Whether a running training makes progress."""

    state: Annotated[
        Literal["moving", "waiting", "stalled"],
        Field(description="It waits for something outside, or trouble of the server's own stalls it"),
    ]
    since: Annotated[Instant, Field(description="Unless it moves: since when it makes no progress")]
    reason: str | None
