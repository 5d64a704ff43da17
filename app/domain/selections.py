"""Past selections of a training as strategies see them, and what it asks of the next one."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from app.domain.clients import Client
from app.domain.rounds import Round, newly_selected
from app.domain.trainings import TrainingConfig
from tcsfeel.selection.types import History, SelectionPolicy
from tcsfeel.transfers import BYTES_PER_MB


@dataclass(frozen=True, slots=True)
class PastSelection:
    """A past round: its start (unix seconds), its selected clients, and whose updates were received.

    `losses` and `examples` hold what clients reported with the updates that were received: the mean training loss, and
    the number of different examples that they trained on.
    """

    started_at: float
    selected: frozenset[str]
    received: frozenset[str]
    losses: Mapping[str, float] = field(default_factory=dict)
    examples: Mapping[str, int] = field(default_factory=dict)


def past_selection(round_: Round) -> PastSelection:
    """Return a round that has ended as later selections see it."""
    received = [part for part in round_.participations if part.status == "received"]
    return PastSelection(
        round_.started_at,
        frozenset(newly_selected(round_)),
        frozenset(part.client_id for part in received),
        {part.client_id: part.loss for part in received if part.loss is not None},
        {part.client_id: part.num_examples for part in received if part.num_examples is not None},
    )


def history(
    past: Sequence[PastSelection], clients: Sequence[Client], registered_at: npt.NDArray[np.float64] | None = None
) -> History:
    """Return past selections as strategies see them: a client missed every round that began before it registered.

    `registered_at` (N,) is when each of the clients did, if that is known as an array.
    """
    starts = sorted(round_.started_at for round_ in past)
    first = starts[0] if starts else math.inf
    some = (
        clients
        if registered_at is None
        else [clients[place] for place in np.flatnonzero(registered_at > first).tolist()]
    )
    joined = {client.id: bisect_left(starts, client.created_at) for client in some if client.created_at > first}
    return History(tuple(round_.selected for round_ in past), joined)


def newest_losses(past: Sequence[PastSelection]) -> dict[str, float]:
    """Return the loss that each client reported with the last update that was received from it."""
    newest: dict[str, float] = {}
    for round_ in past:
        newest.update(round_.losses)
    return newest


def newest_examples(past: Sequence[PastSelection]) -> dict[str, int]:
    """Return the number of examples on which each client trained for the last update that was received from it."""
    newest: dict[str, int] = {}
    for round_ in past:
        newest.update(round_.examples)
    return newest


def selection_policy(config: TrainingConfig, model_bytes: int | None) -> SelectionPolicy:
    """Return a training's policy for one round, with over-selection; without a model, its size is a guess of 1 MB."""
    selection, factor = config.selection, config.round_policy.over_selection
    return SelectionPolicy(
        min_clients=math.ceil(selection.min_clients * factor - 1e-9),
        max_clients=math.ceil(selection.max_clients * factor - 1e-9),
        budget_constraint=selection.budget_constraint,
        largest_multiple=selection.largest_multiple,
        weights=selection.weights,
        model_bytes=BYTES_PER_MB if model_bytes is None else model_bytes,
        local_epochs=local_epochs(config),
        topology=config.topology,
        parameters=selection.parameters,
    )


def local_epochs(config: TrainingConfig) -> int:
    """Return how many local epochs a client does that does all of its work."""
    return max(1, int(config.hyperparameter("local_epochs", 1)))
