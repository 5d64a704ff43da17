"""The strategies that a selection can use."""

from typing import Annotated

from pydantic import ConfigDict, Field

from tcsfeel.contract.fields import ResponseModel


class ParameterOut(ResponseModel):
    """A number that tunes a strategy."""

    name: str
    default: float
    minimum: float
    maximum: float
    meaning: str


class StrategyOut(ResponseModel):
    """A way to choose the clients of a round."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "power-of-choice",
                    "summary": (
                        "Select those that reported the highest loss, of candidates that are drawn in proportion to "
                        "their samples."
                    ),
                    "source": "built in",
                    "parameters": [
                        {
                            "name": "factor",
                            "default": 2.0,
                            "minimum": 1.0,
                            "maximum": 1000.0,
                            "meaning": (
                                "candidates that are drawn for each place;"
                                " 1: clients are drawn in proportion to their samples"
                            ),
                        }
                    ],
                }
            ]
        }
    )

    name: str
    summary: str
    source: Annotated[str, Field(description="`built in`, or the package that provides it")]
    parameters: list[ParameterOut]


class StrategiesOut(ResponseModel):
    """All installed strategies, sorted by name."""

    items: list[StrategyOut]
