"""When rounds end, in requests and responses."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tcsfeel.aggregation.config import Aggregation
from tcsfeel.contract.fields import RequestModel, ResponseModel, wrong_fields
from tcsfeel.contract.schedules import AS_GIVEN, ScheduleIn, scheduled
from tcsfeel.transfers import Topology

Stragglers = Literal["skip", "carry"]
LocalWork = Literal["full", "elastic"]
CANNOT_CARRY: Mapping[Aggregation, str] = {
    **dict.fromkeys(
        ("median", "trimmed_mean", "krum", "multi_krum", "geometric_median"),
        "which has no weights that could be smaller for stale updates",
    ),
    "scaffold": "whose control variates belong to the model of their round",
}
"""The rules with which stragglers cannot be carried, each with the reason."""

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
    stragglers: Annotated[
        Stragglers,
        Field(
            description="`carry`: a client that is still at work when its round goes on keeps its task for a later one"
        ),
    ] = "skip"
    max_staleness: Annotated[
        int, Field(ge=1, le=1000, description="How many rounds later than it began a carried task may end")
    ] = 5
    local_work: Annotated[
        LocalWork, Field(description="`elastic`: slow clients do fewer local epochs, if their trainers can")
    ] = "full"


class RoundPolicyOut(ResponseModel):
    """As in the request."""

    deadline_seconds: float | dict[str, Any]
    quorum: float
    over_selection: float
    grace_seconds: float
    max_failed_rounds: int
    max_wait_seconds: float
    stragglers: Stragglers = "skip"
    max_staleness: int = 5
    local_work: LocalWork = "full"


def check_stragglers(policy: RoundPolicyIn, aggregation: Aggregation, topology: Topology) -> None:
    """Raise the error of the field `round_policy.stragglers` if a training like this cannot carry stragglers."""
    if policy.stragglers == "skip":
        return
    reasons = []
    if (reason := CANNOT_CARRY.get(aggregation)) is not None:
        reasons.append(f"with the aggregation rule {aggregation}, {reason}")
    if topology == "relay":
        reasons.append("with the topology relay, because a relay averages the updates of one round alone")
    if reasons:
        raise wrong_fields([(("round_policy", "stragglers"), f"cannot be carry {reason}") for reason in reasons])
