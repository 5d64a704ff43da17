"""Sum up the rounds of a training, as the API shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A round that has ended.

    Attributes:
        accuracy: the accuracy on the held-out digits, 0..1; None if the round was abandoned.
        cost: the link time in seconds.
        traffic: the bytes over the server's links.
        selected, received: the number of selected clients, and of received updates.
        relayed: how many of these updates came through a relay.
        learning: how many of the bytes are models on their way to clients that train, and their updates. The others
            are models that clients measure.
        last_update: the most seconds that an update took, from when its task was sent.
        failures: the number of tries without an update in time.
        seconds: the wall time.
        fairness: Jain's index after this round, 0..1.
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
    relayed: int = 0
    learning: int = 0
    last_update: float = 0.0

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Row":
        """Read a round of ``GET /v1/trainings/{id}/rounds/{number}``."""
        parts = value["participations"]
        received = sum(part["status"] == "received" for part in parts)
        relayed = sum(part["relay"] is not None for part in parts)
        lasted = datetime.fromisoformat(value["ended_at"]) - datetime.fromisoformat(value["started_at"])
        return cls(
            number=value["number"],
            accuracy=value["average_accuracy"],
            cost=value["communication_cost"] or 0.0,
            traffic=value["communication_bytes"],
            selected=len(parts),
            received=received,
            relayed=relayed,
            last_update=max((part["seconds"] or 0.0 for part in parts if part["status"] == "received"), default=0.0),
            learning=sum(part["bytes_sent"] + part["bytes_received"] for part in parts),
            failures=sum(part["attempts"] for part in parts) - (received - relayed),
            seconds=lasted.total_seconds(),
            fairness=value["fairness"],
        )


@dataclass(slots=True)
class History:
    """The rounds in their order, with their sums."""

    rows: list[Row] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """Return the link time of all rounds in seconds."""
        return sum(row.cost for row in self.rows)

    @property
    def traffic(self) -> int:
        """Return the bytes over the server's links in all rounds."""
        return sum(row.traffic for row in self.rows)

    @property
    def learning(self) -> int:
        """Return the bytes over the server's links, in all rounds, that are for training."""
        return sum(row.learning for row in self.rows)

    @property
    def failures(self) -> int:
        """Return the number of tries without an update in time, in all rounds."""
        return sum(row.failures for row in self.rows)

    @property
    def accuracy(self) -> float | None:
        """Return the accuracy that was measured last; None if there is none."""
        return next((row.accuracy for row in reversed(self.rows) if row.accuracy is not None), None)

    @property
    def fairness(self) -> float | None:
        """Return Jain's index after the last round; None if there is none."""
        return self.rows[-1].fairness if self.rows else None
