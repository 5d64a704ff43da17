"""Define the goal of a training: a metric, whether it should rise or fall, and when to stop."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tcsfeel.wire.tasks import ACCURACY, LOSS

Mode = Literal["max", "min"]

USUAL_MODES: dict[str, Mode] = {ACCURACY: "max", LOSS: "min"}
"""The modes of the metrics whose meaning is known. For any other metric the user has to give the mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The metric by which the new models of a training are judged, on held-out data.

    Attributes:
        metric: the name of the metric; ``loss`` and ``accuracy`` are the fields of a result.
        mode: whether the metric should rise ("max") or fall ("min").
        target: the value at which the training is done; with None it goes on.
        patience: the number of rounds in a row without an improvement after which the training stops; with None it
            goes on.
        min_delta: how much better a value must be to count as an improvement; 0 or more.
    """

    metric: str = ACCURACY
    mode: Mode = "max"
    target: float | None = None
    patience: int | None = None
    min_delta: float = 0.0

    def reached(self, measured: float | None) -> bool:
        """Tell whether a value is at the target or beyond it."""
        return measured is not None and self.target is not None and self.gain(measured, self.target) >= 0.0

    def gain(self, measured: float, before: float) -> float:
        """Return how much better a value is than the one before; negative if it is worse."""
        return measured - before if self.mode == "max" else before - measured

    def best(self, measured: Iterable[float | None]) -> float | None:
        """Return the best of the known values, or None if there are none."""
        known = [value for value in measured if value is not None]
        choose = max if self.mode == "max" else min
        return choose(known, default=None)

    @property
    def shown_target(self) -> str:
        """Say when the target is reached, as in "mse of 0.1 or less"."""
        side = "more" if self.mode == "max" else "less"
        return f"{self.metric} of {self.target:g} or {side}"
