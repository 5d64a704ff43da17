"""The progress of trainings in responses."""

from typing import Annotated, Literal

from pydantic import Field

from tcsfeel.contract.fields import Instant, ResponseModel


class ProgressOut(ResponseModel):
    """Whether a running training makes progress, since when, and why not."""

    state: Annotated[
        Literal["moving", "waiting", "stalled"],
        Field(description="`waiting` for clients or after an abandoned round; `stalled` by a problem on the server"),
    ]
    since: Annotated[Instant, Field(description="Since when it has been in this state")]
    reason: str | None
