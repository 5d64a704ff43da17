"""Define how updates are combined: the rule, the numbers that tune it, and the tensors that are not optimised."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tcsfeel.wire.tasks import Scalar

Aggregation = Literal[
    "fedavg", "fedprox", "weighted", "balanced", "fednova", "scaffold",
    "fedavgm", "fedadam", "fedyogi", "fedadagrad",
    "median", "trimmed_mean", "krum", "multi_krum", "geometric_median",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationConfig:
    """The rule by which the updates of a round become the next model.

    Attributes:
        aggregation: the rule's name.
        hyperparameters: of the training; those whose names begin with ``server_`` tune the rule.
        statistics: patterns for names of tensors that are averaged and never optimised, besides the well-known ones.
    """

    aggregation: Aggregation = "fedavg"
    hyperparameters: Mapping[str, Scalar] = field(default_factory=dict)
    statistics: tuple[str, ...] = ()

    def hyperparameter(self, name: str, default: float) -> float:
        """Return a numeric hyperparameter, or `default` if it is not given as a number."""
        value = self.hyperparameters.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default

    def switched_on(self, name: str) -> bool:
        """Tell whether a hyperparameter is true."""
        return self.hyperparameters.get(name) is True
