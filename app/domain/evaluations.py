"""The evaluations of a round's new model: which clients can measure it, and how each measurement ended."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from app.domain.clients import Client

EvaluationStatus = Literal["received", "rejected", "failed", "skipped"]

NOTHING_HELD_OUT = "it has no held-out examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How one client's evaluation in a round ended. Bytes are bodies as they crossed the coordinator's link.

    Attributes:
        status: skipped if the client has no examples to measure with, or if the round went on without its answer.
        attempts: how often the task was sent to the client.
        metrics: what the client measured besides the loss, by name.
        seconds: from the first hand-over to the end; None where it was never handed over.
    """

    client_id: str
    status: EvaluationStatus
    attempts: int = 0
    reason: str | None = None
    num_examples: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    seconds: float | None = None
    bytes_sent: int = 0
    bytes_received: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)


def able_to_evaluate(offered: Iterable[Client], tags: Mapping[str, str]) -> list[Client]:
    """Return the clients that may measure a model: those with a closed breaker, held-out data and all the tags."""
    return [
        client
        for client in offered
        if client.breaker.state == "closed"
        and client.may_hold_out_data
        and all(client.profile.tags.get(key) == value for key, value in tags.items())
    ]


def drawn(able: Sequence[Client], wanted: int, seed: int) -> list[Client]:
    """Return at most `wanted` of the clients in their order, drawn with the round's seed: the same ones each time."""
    if len(able) <= wanted:
        return list(able)
    chosen = np.random.default_rng([seed, 1]).choice(len(able), wanted, replace=False)
    return [able[index] for index in sorted(chosen)]
