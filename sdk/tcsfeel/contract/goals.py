"""Goals of trainings, and what clients measured, in requests and responses."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tcsfeel.aggregation.goals import USUAL_MODES, Goal, Mode
from tcsfeel.contract.fields import METRIC_PATTERN, RequestModel, ResponseModel, wrong_fields
from tcsfeel.wire.tasks import ACCURACY, LARGEST_LOSS

MetricName = Annotated[str, Field(pattern=METRIC_PATTERN, examples=["rmse"])]


class GoalIn(RequestModel):
    """What the training is to reach: a metric that its clients measure on held-out data, and when to stop."""

    metric: Annotated[MetricName, Field(description="`accuracy`, `loss`, or any metric of an evaluate result")]
    mode: Annotated[
        Mode | None,
        Field(description="Whether it is to rise (`max`) or to fall (`min`); known for accuracy and loss"),
    ] = None
    target: Annotated[
        float | None,
        Field(ge=-LARGEST_LOSS, le=LARGEST_LOSS, description="The value at which the training is completed"),
    ] = None
    patience: Annotated[
        int | None,
        Field(ge=1, le=1_000_000, description="Measured rounds without an improvement, after which it is completed"),
    ] = None
    min_delta: Annotated[
        float, Field(ge=0, le=LARGEST_LOSS, description="By how much a value has to be better to be an improvement")
    ] = 0.0

    @model_validator(mode="after")
    def _makes_sense(self) -> "GoalIn":
        if self.mode is None and self.metric not in USUAL_MODES:
            raise wrong_fields([(("mode",), f"should say whether {self.metric} should fall (min) or rise (max)")])
        if self.metric == ACCURACY and self.target is not None and not 0 < self.target <= 1:
            raise wrong_fields([(("target",), "should be greater than 0 and at most 1, as it is an accuracy")])
        return self

    def goal(self) -> Goal:
        """Make the goal of it."""
        return Goal(
            metric=self.metric,
            mode=self.mode or USUAL_MODES[self.metric],
            target=self.target,
            patience=self.patience,
            min_delta=self.min_delta,
        )


class GoalOut(ResponseModel):
    """As in the request."""

    metric: str
    mode: Literal["max", "min"]
    target: float | None
    patience: int | None
    min_delta: float


class SummaryOut(ResponseModel):
    """What clients measured of one metric."""

    mean: Annotated[float, Field(description="Weighted by examples, within the bounds for what one client counts")]
    min: float
    p25: float
    p50: float
    p75: float
    max: float
    clients: Annotated[int, Field(description="How many clients measured it")]
