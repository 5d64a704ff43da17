"""Recipes: fields of a new training that work well together, under a name."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from tcsfeel.aggregation.mean import PENALTY
from tcsfeel.aggregation.server import MOMENTUM, RATE

Recipe = Literal["tcs-feel", "tcs-feel-relay", "fedavg"]

_TCS_FEEL: Mapping[str, Any] = {
    "aggregation": "balanced",
    "selection": {"strategy": "tcs-feel", "weights": {"compute": 0.5}},
    "round_policy": {"local_work": "elastic"},
    "hyperparameters": {
        "server_learning_rate": RATE,
        "server_momentum": MOMENTUM,
        "server_nesterov": True,
        "server_balance_penalty": PENALTY,
    },
}
_WEIGHTS = {"communication": 2.5, "compute": 0.0, "fairness": 0.4}
RECIPES: dict[str, Any] = {
    "tcs-feel": {**_TCS_FEEL, "topology": "star"},
    "tcs-feel-relay": {**_TCS_FEEL, "topology": "relay", "selection": {"strategy": "tcs-feel", "weights": _WEIGHTS}},
    "fedavg": {"aggregation": "fedavg", "topology": "star", "selection": {"strategy": "random"}},
}
"""The fields of each recipe. Others have their defaults."""

GivenRecipe = Annotated[
    Recipe | None,
    Field(
        description="Gives other defaults to fields that work well together. Fields that are given win",
        json_schema_extra={"x-tcsfeel-defaults": RECIPES},
    ),
]


def with_recipe(given: Any) -> Any:
    """Return the fields of a new training with those of the recipe that it names. What is given wins."""
    name = given.get("recipe") if isinstance(given, dict) else None
    if not isinstance(name, str):
        return given
    return _filled(given, RECIPES.get(name, {}))


def _filled(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(given)
    for name, default in defaults.items():
        if name not in found:
            found[name] = default
        elif isinstance(default, Mapping) and (fields := _fields(found[name])) is not None:
            found[name] = _filled(fields, default)
    return found


def _fields(part: Any) -> Mapping[str, Any] | None:
    """Return what was given of a part; None if it has no fields, which is a mistake that is found later."""
    if isinstance(part, BaseModel):
        return {name: getattr(part, name) for name in part.model_fields_set}
    return part if isinstance(part, Mapping) else None
