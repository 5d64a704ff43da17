"""Label counts or shares of a client, in requests."""

from typing import Annotated, Any

from pydantic import Field, PlainValidator, TypeAdapter

from tcsfeel.contract.fields import STRICT, PlainText

LEAST = 1e-9  # so that no division is by a number near zero
Share = Annotated[float, Field(ge=0, le=1e15)]

_Positions = Annotated[list[Share], Field(min_length=1, max_length=10_000)]
_Names = Annotated[dict[PlainText, Share], Field(min_length=1, max_length=10_000)]
_POSITIONS: TypeAdapter[list[float]] = TypeAdapter(_Positions, config=STRICT)
_NAMES: TypeAdapter[dict[str, float]] = TypeAdapter(_Names, config=STRICT)


def _distribution(value: Any) -> list[float] | dict[str, float]:
    """Check the form that was sent. A union of types would also report why the value is not of the other form."""
    if isinstance(value, dict):
        checked: list[float] | dict[str, float] = _NAMES.validate_python(value)
    elif isinstance(value, list):
        checked = _POSITIONS.validate_python(value)
    else:
        raise ValueError("should be a list of counts, or an object of counts by label")  # noqa: TRY004  (pydantic's way)
    if not any(share >= LEAST for share in (checked.values() if isinstance(checked, dict) else checked)):
        raise ValueError("should contain at least one label with a count above zero")
    return checked


DataDistribution = Annotated[
    list[float] | dict[str, float],
    PlainValidator(_distribution, json_schema_input_type=_Positions | _Names),
    Field(description="Label counts or shares, by position or by name"),
]
