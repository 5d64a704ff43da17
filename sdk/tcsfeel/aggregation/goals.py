"""What a training is to reach: a metric, whether it is to rise or to fall, and when to stop."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tcsfeel.wire.tasks import ACCURACY, LOSS

Mode = Literal["max", "min"]

USUAL_MODES: dict[str, Mode] = {ACCURACY: "max", LOSS: "min"}
"""The modes of the metrics whose meaning is known; of any other one it has to be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the new models of a training are measured by, on held-out data.

    Attributes:
        metric: the name of the metric; ``loss`` and ``accuracy`` are the fields of a result.
        mode: whether the metric is to rise ("max") or to fall ("min").
        target: the value at which the training is done; None trains on.
        patience: after how many rounds in a row without an improvement the training stops; None trains on.
        min_delta: by how much a value must be better to count as an improvement; 0 or more.
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
        """Return how much better a value is than the one before; negative where it is worse."""
        return measured - before if self.mode == "max" else before - measured

    def best(self, measured: Iterable[float | None]) -> float | None:
        """Return the best of the values that are known; None where there is none."""
        known = [value for value in measured if value is not None]
        choose = max if self.mode == "max" else min
        return choose(known, default=None)

    @property
    def shown_target(self) -> str:
        """Say when the target is reached, as in "mse of 0.1 or less"."""
        side = "more" if self.mode == "max" else "less"
        return f"{self.metric} of {self.target:g} or {side}"
