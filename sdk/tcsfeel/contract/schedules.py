"""Schedules in requests: values that follow from the number of a round."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationError, model_validator

from tcsfeel.contract.fields import STRICT, RequestModel, wrong_fields
from tcsfeel.schedules import ByRound, Cosine, Schedule, Step

MOST_ROUNDS = 1_000_000

Start = Annotated[int, Field(ge=1, le=MOST_ROUNDS, description="The round with which it begins")]


class StepIn(RequestModel):
    """Multiplies the value by `gamma` after every `step_size` rounds, until it reaches `end_value` if there is one."""

    schedule: Literal["step"]
    init_value: float
    gamma: Annotated[float, Field(gt=0, le=1e6)]
    step_size: Annotated[int, Field(ge=1, le=MOST_ROUNDS)]
    end_value: float | None = None
    start: Start = 1

    @model_validator(mode="after")
    def _has_an_end(self) -> "StepIn":
        first, end = self.init_value, self.end_value
        if self.gamma > 1 and (end is None or first * end <= 0 or abs(end) < abs(first)):
            raise wrong_fields(
                [(("end_value",), "should be beyond init_value, since the values grow with a gamma above 1")]
            )
        if self.gamma <= 1 and end is not None and not min(0.0, first) <= end <= max(0.0, first):
            raise wrong_fields([(("end_value",), "should lie between 0 and init_value, as the values do")])
        return self

    def made(self) -> Schedule:
        """Make the schedule of it."""
        return Step(**self.model_dump())


class CosineIn(RequestModel):
    """Goes from `init_value` in the first to `end_value` in the last of so many `rounds`, and stays there."""

    schedule: Literal["cosine"]
    init_value: float
    end_value: float
    rounds: Annotated[int, Field(ge=2, le=MOST_ROUNDS)]
    start: Start = 1

    def made(self) -> Schedule:
        """Make the schedule of it."""
        return Cosine(**self.model_dump())


def _number(value: Any) -> Any:
    """Check a number. A union of types would also report why the value is not of the other type."""
    return TypeAdapter(int if isinstance(value, int) else float, config=STRICT).validate_python(value)


class ByRoundIn(RequestModel):
    """Has each of the `values` from the round that it stands under until the next one."""

    schedule: Literal["by_round"]
    values: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[1-9][0-9]{0,6}$")],
            Annotated[float, PlainValidator(_number, json_schema_input_type=float)],
        ],
        Field(max_length=1000, description="Values by the number of the first round that has them"),
    ]

    @model_validator(mode="after")
    def _begins(self) -> "ByRoundIn":
        if "1" not in self.values:
            raise wrong_fields([(("values", "1"), "is required: it is the value of the first round")])
        return self

    def made(self) -> Schedule:
        """Make the schedule of it."""
        return ByRound(values={int(begin): value for begin, value in self.values.items()})


ScheduleIn = StepIn | CosineIn | ByRoundIn
_KINDS: Mapping[str, type[ScheduleIn]] = {"step": StepIn, "cosine": CosineIn, "by_round": ByRoundIn}


def read_schedule(given: Any) -> ScheduleIn:
    """Check a schedule by its kind. A union of kinds would also report why it is not of each other kind."""
    kind = given.get("schedule")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise wrong_fields([(("schedule",), "should be step, cosine or by_round")])
    return _KINDS[kind].model_validate(given)


def _as_given(value: Any) -> Any:
    return value.model_dump(exclude_unset=True) if isinstance(value, ScheduleIn) else value


AS_GIVEN = PlainSerializer(_as_given, return_type=Any)
"""Writes a number or a schedule as in the request."""


def scheduled(number: Any) -> PlainValidator:
    """Make the validator of a field that holds a `number` with bounds, or a schedule whose values keep to them."""
    adapter: TypeAdapter[Any] = TypeAdapter(number, config=STRICT)
    is_whole = TypeAdapter(number).json_schema()["type"] == "integer"

    def checked(value: Any) -> Any:
        if isinstance(value, ScheduleIn):
            value = value.model_dump(exclude_unset=True)
        if not isinstance(value, dict):
            return adapter.validate_python(value)
        found = read_schedule(value)
        for place, extreme in found.made().extremes().items():
            try:
                adapter.validate_python(round(extreme) if is_whole else extreme)
            except ValidationError as error:
                (wrong, *_) = error.errors(include_url=False, include_input=False)
                words = str(wrong["msg"]).removeprefix("Input ")
                raise wrong_fields([(tuple(place.split("/")), words)]) from None
        return found

    return PlainValidator(checked, json_schema_input_type=number | ScheduleIn)


def shown_schedule(schedule: Schedule) -> dict[str, Any]:
    """Show a schedule as in the request."""
    found = {"schedule": schedule.schedule} | asdict(schedule)
    if isinstance(schedule, ByRound):
        found["values"] = {str(begin): value for begin, value in schedule.values.items()}
    return {name: value for name, value in found.items() if value is not None}
