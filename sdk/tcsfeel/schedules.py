"""Schedules: values that follow from the number of a round, such as a learning rate that falls.

The names are those of optax (`init_value`, `end_value`) and of PyTorch's schedulers (`gamma`, `step_size`). Rounds are
numbered from 1. Before the round `start`, a schedule has its first value.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SMALLEST = 5e-324  # the smallest positive float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Multiplies the value by `gamma` after every `step_size` rounds, until it reaches `end_value` if there is one.

    If `gamma` is above 1, there has to be an `end_value`.
    """

    init_value: float
    gamma: float
    step_size: int
    end_value: float | None = None
    start: int = 1
    schedule: Literal["step"] = "step"

    def at(self, number: int) -> float:
        """Return the value in a round."""
        steps = max(0, number - self.start) // self.step_size
        try:
            factor = self.gamma**steps
        except OverflowError:
            factor = math.inf
        value = self.init_value * factor if self.init_value else 0.0
        if self.end_value is None:
            return value or math.copysign(SMALLEST, self.init_value) * (self.init_value != 0)
        nearest = max if self.gamma <= 1 else min
        return math.copysign(nearest(abs(value), abs(self.end_value)), self.init_value)

    def extremes(self) -> Mapping[str, float]:
        """Return the values between which all others lie, each with the name of the field that it comes from."""
        shrunk = math.copysign(min(abs(self.init_value), SMALLEST), self.init_value)
        return {"init_value": self.init_value, "end_value": shrunk if self.end_value is None else self.end_value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine:
    """Goes from `init_value` in the first to `end_value` in the last of so many `rounds` along half a cosine.

    It stays there. Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.
    """

    init_value: float
    end_value: float
    rounds: int
    start: int = 1
    schedule: Literal["cosine"] = "cosine"

    def at(self, number: int) -> float:
        """Return the value in a round."""
        done = min(max(0, number - self.start) / (self.rounds - 1), 1.0)
        weight = (1.0 + math.cos(math.pi * done)) / 2.0
        value = weight * self.init_value + (1.0 - weight) * self.end_value
        low, high = sorted((self.init_value, self.end_value))
        return min(max(value, low), high)

    def extremes(self) -> Mapping[str, float]:
        """Return the values between which all others lie, each with the name of the field that it comes from."""
        return {"init_value": self.init_value, "end_value": self.end_value}


@dataclass(frozen=True, slots=True, kw_only=True)
class ByRound:
    """Has each of the `values` from the round that it stands under until the next one. Round 1 has to have one."""

    values: Mapping[int, float]
    schedule: Literal["by_round"] = "by_round"

    def __post_init__(self) -> None:
        """In JSON, the numbers of rounds are texts."""
        object.__setattr__(self, "values", {int(begin): value for begin, value in self.values.items()})

    def at(self, number: int) -> float:
        """Return the value in a round."""
        return self.values[max((begin for begin in self.values if begin <= number), default=min(self.values))]

    def extremes(self) -> Mapping[str, float]:
        """Return all values, each with the place that it comes from."""
        return {f"values/{begin}": value for begin, value in self.values.items()}


Schedule = Step | Cosine | ByRound
