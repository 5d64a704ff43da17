"""What a training has come to so far, from its rounds as the API gives them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One round that has ended.

    Attributes:
        accuracy: 0..1 on held-out digits; None where the round was abandoned.
        cost: s of link time.
        traffic: bytes over the coordinator's links.
        selected, received: clients, and updates that came in.
        failures: tries that gave no update in time.
        seconds: wall time.
        fairness: Jain's index so far, 0..1.
    """

    number: int
    accuracy: float | None
    cost: float
    traffic: int
    selected: int
    received: int
    failures: int
    seconds: float
    fairness: float | None

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Row":
        """From a round of ``GET /v1/trainings/{id}/rounds/{number}``."""
        parts = value["participations"]
        received = sum(part["status"] == "received" for part in parts)
        lasted = datetime.fromisoformat(value["ended_at"]) - datetime.fromisoformat(value["started_at"])
        return cls(
            number=value["number"],
            accuracy=value["average_accuracy"],
            cost=value["communication_cost"] or 0.0,
            traffic=value["communication_bytes"],
            selected=len(parts),
            received=received,
            failures=sum(part["attempts"] for part in parts) - received,
            seconds=lasted.total_seconds(),
            fairness=value["fairness"],
        )


@dataclass(slots=True)
class History:
    """The rounds in order, and their sums."""

    rows: list[Row] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """Seconds of link time."""
        return sum(row.cost for row in self.rows)

    @property
    def traffic(self) -> int:
        """Bytes over the coordinator's links."""
        return sum(row.traffic for row in self.rows)

    @property
    def failures(self) -> int:
        """Tries that gave no update in time."""
        return sum(row.failures for row in self.rows)

    @property
    def accuracy(self) -> float | None:
        """The last one that was measured."""
        return next((row.accuracy for row in reversed(self.rows) if row.accuracy is not None), None)

    @property
    def fairness(self) -> float | None:
        """After the last round."""
        return self.rows[-1].fairness if self.rows else None
