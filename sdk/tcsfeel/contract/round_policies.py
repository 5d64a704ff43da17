"""When rounds end, in requests and responses."""

from typing import Annotated, Any

from pydantic import Field

from tcsfeel.contract.fields import RequestModel, ResponseModel
from tcsfeel.contract.schedules import AS_GIVEN, ScheduleIn, scheduled

Deadline = Annotated[float, Field(ge=1, le=1e7, description="The longest that a round may take, in seconds")]


class RoundPolicyIn(RequestModel):
    """When a round ends."""

    deadline_seconds: Annotated[float | ScheduleIn, scheduled(Deadline), AS_GIVEN] = 600.0
    quorum: Annotated[
        float, Field(gt=0, le=1, description="Share of the selected clients whose updates a round needs")
    ] = 0.6
    over_selection: Annotated[
        float, Field(ge=1, le=10, description="By which factor more clients are selected, as some may fail")
    ] = 1.0
    grace_seconds: Annotated[
        float, Field(ge=0, le=1e7, description="How long a round with its quorum waits for the others, in seconds")
    ] = 10.0
    max_failed_rounds: Annotated[
        int, Field(ge=1, le=1_000_000, description="Abandoned rounds in a row after which the training fails")
    ] = 3
    max_wait_seconds: Annotated[
        float, Field(ge=0, le=1e7, description="How long a round may wait for clients or make no progress, in seconds")
    ] = 3600.0


class RoundPolicyOut(ResponseModel):
    """As in the request."""

    deadline_seconds: float | dict[str, Any]
    quorum: float
    over_selection: float
    grace_seconds: float
    max_failed_rounds: int
    max_wait_seconds: float
