"""Outcomes of calls that an outside coordinator made itself."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tcsfeel.contract.clients import BreakerOut, MeasuredOut, Reliability
from tcsfeel.contract.fields import PlainText, RequestModel, ResponseModel, wrong_fields

LONGEST_SECONDS = 30 * 86_400.0

OUTCOMES: list[Any] = [
    {"success": True, "seconds": 41.5, "update_quality": 0.8},
    {"success": False, "kind": "unreachable", "reason": "no connection within 10 s"},
]


class ReportOutcome(RequestModel):
    """How one call of a client ended."""

    model_config = {"json_schema_extra": {"examples": OUTCOMES}}

    success: Annotated[bool, Field(description="Whether the client did what the call asked for")]
    phase: Annotated[
        Literal["fit", "evaluate"],
        Field(description="Which work the call was about; only those of `fit` count for the averages"),
    ] = "fit"
    seconds: Annotated[
        float | None,
        Field(gt=0, le=LONGEST_SECONDS, description="How long it took; of a fit that succeeded, for `train_seconds`"),
    ] = None
    slow: Annotated[
        bool, Field(description="Whether a success took unusually long; too many of these open the breaker")
    ] = False
    update_quality: Annotated[
        float | None, Field(ge=0, le=1, description="Quality of the update of a fit that succeeded")
    ] = None
    reliability: Annotated[
        Reliability | None, Field(description="The client's reliability from now on, in place of its average")
    ] = None
    kind: Annotated[
        Literal["unreachable", "faulty"],
        Field(description="Of a failure: whether the client could not be reached, or its work or answer was wrong"),
    ] = "unreachable"
    reason: Annotated[PlainText | None, Field(min_length=1, description="Of a failure: why the call failed")] = None

    @model_validator(mode="after")
    def _of_one_outcome(self) -> "ReportOutcome":
        wrong = {"kind", "reason"} if self.success else {"slow", "update_quality"}
        if self.phase == "evaluate":
            wrong |= {"update_quality"}
        sent = sorted(wrong & self.model_fields_set)
        if sent:
            of = "a failure" if self.success else "a success"
            rules = dict.fromkeys(sent, f"is only for the report of {of}: leave it out")
            if self.phase == "evaluate" and "update_quality" in rules:
                rules["update_quality"] = "is only for the report of a fit that succeeded: leave it out"
            raise wrong_fields(((name,), rule) for name, rule in rules.items())
        return self


class OutcomeOut(ResponseModel):
    """What the server knows of a client after a report: whether to call it, and its averages."""

    client_id: str
    status: Literal["healthy", "suspect", "down"]
    breaker: BreakerOut
    measured: MeasuredOut
