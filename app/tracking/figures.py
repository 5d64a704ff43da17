"""The figures of trainings and rounds that trackers get, as flat names and numbers."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tcsfeel.contract.rounds import ClientEvaluationOut, ParticipationOut, RoundOut
from tcsfeel.contract.trainings import TrainingOut

CONFIGURED = (
    "goal",
    "max_rounds",
    "recipe",
    "aggregation",
    "selection",
    "where",
    "hyperparameters",
    "round_policy",
    "evaluation",
    "uploads",
    "topology",
    "seed",
    "retention",
    "parameters",
    "origin",
)
"""The fields of a training that say how it was configured."""
MOST_CLIENTS = 200
"""Clients of a round whose own figures are written, if nobody says how many."""


def parameters(training: TrainingOut) -> dict[str, str]:
    """Return how a training is configured, such as ``selection.strategy``: a text for each value that is not null."""
    return {
        name: str(value)
        for name, value in _flat(training.model_dump(mode="json", include=set(CONFIGURED)))
        if value not in (None, "", [], {})
    }


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def figures(round_: RoundOut, *, most_clients: int = MOST_CLIENTS) -> dict[str, float]:
    """Return the finite figures of a round that has ended, by name.

    ``evaluation/NAME`` is the mean of a metric of the new model on held-out data, ``training/NAME`` that of what
    clients measured while they trained, and ``round/NAME`` is about the round itself. ``clients/ID/NAME`` are those of
    one client; they are left out if the round has more than `most_clients` clients, or as many measured its model.
    """
    found: dict[str, float | None] = {
        "evaluation/loss": round_.average_loss,
        "evaluation/accuracy": round_.average_accuracy,
        **{f"evaluation/{name}": one.mean for name, one in round_.metrics.items()},
        **{f"training/{name}": one.mean for name, one in round_.training_metrics.items()},
        "round/goal_value": round_.goal_value,
        "round/seconds": None if round_.ended_at is None else (round_.ended_at - round_.started_at).total_seconds(),
        "round/link_seconds": round_.communication_cost,
        "round/bytes": round_.communication_bytes,
        "round/fairness": round_.fairness,
        "round/label_divergence": round_.label_divergence,
        "round/selected": len(round_.selected_clients),
        "round/received": sum(one.status == "received" for one in round_.participations),
        "round/failed": sum(one.status in {"failed", "rejected"} for one in round_.participations),
        "round/completed": float(round_.status == "completed"),
    }
    if max(len(round_.participations), len(round_.evaluations)) <= most_clients:
        for part in round_.participations:
            found.update(_of_client(part, "training"))
        for one in round_.evaluations:
            found.update(_of_client(one, "evaluation"))
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def _of_client(part: ParticipationOut | ClientEvaluationOut, what: str) -> dict[str, float | None]:
    """Return the figures of one client: of its training, or of its evaluation of the new model."""
    place = f"clients/{part.client_id}/{what}"
    measured = {"loss": part.loss, "accuracy": part.accuracy, **part.metrics}  # by the client, with any names
    seen = {"seconds": part.seconds, "received": float(part.status == "received")}
    return {f"{place}/{name}": value for name, value in (measured | seen).items()}
