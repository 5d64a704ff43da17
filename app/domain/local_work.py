"""Plan how many local epochs each client of a round does, so that slow ones do not hold up the others.

A round takes as long as its slowest client. In a training whose `local_work` is elastic, the round is meant to take the
time in which four fifths of its clients (`WHOLE`) would be done with all epochs. Of K clients, this is the time of the
one in place 1 + floor(0.8 (K - 1)), sorted by time. Each of the slower ones does as many epochs as fit into that time,
but at least one. A client whose trainer has not said that it follows the number in each task does all of them. So does
everybody below a relay that has not said so, because it may not know how to pass another number on.
"""

from collections.abc import Container, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from app.domain.rounds import Participation
from app.domain.selections import local_epochs
from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation.mean import WEIGHTS
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.candidates import Candidates
from tcsfeel.selection.pool import MAX_SECONDS, train_seconds
from tcsfeel.selection.types import Plan, Selection, SelectionPolicy
from tcsfeel.transfers import BYTES_PER_MB

Floats = npt.NDArray[np.float64]

ROUNDING = 1e-9  # of a number of epochs
WHOLE = 0.8  # the share of the clients that do all epochs: with fewer, a round is shorter, but more rounds are needed
MARGIN_SHARE, MOST_MARGIN = 0.1, 60.0  # of a task's time, and seconds


def elastic_epochs(epochs: int, transfers: Floats, fits: Floats) -> npt.NDArray[np.intp]:
    """Return how many epochs (K,) each of K clients does, 1..`epochs`.

    Args:
        epochs: of a client that does all of its work, at least 1.
        transfers: (K,) the seconds for which models travel to each client and back, finite.
        fits: (K,) the seconds in which each client trains for all epochs, finite.
    """
    left = np.quantile(transfers + fits, WHOLE, method="lower") - transfers
    with np.errstate(over="ignore"):  # of a client that claims to train in next to no time
        shares = np.divide(left, fits, out=np.ones_like(fits), where=fits > 0)
    return np.clip(np.floor(epochs * np.minimum(shares, 1.0) + ROUNDING), 1, epochs).astype(np.intp)


def planned_epochs(
    plan: Plan, seen: Candidates, links: Connectivity, policy: SelectionPolicy, elastic: Container[str]
) -> dict[str, int]:
    """Return the epochs of those clients of a plan that do not do all of them, and of those that hang below them.

    A client below a relay has to be told its own number if that of its relay is another one.

    Args:
        plan: whose clients are among those of `seen`.
        seen: the candidates of the selection.
        links: between clients.
        policy: of the selection, with the number of all epochs and the size of the model.
        elastic: the clients whose trainers follow the number of epochs.
    """
    places = {client_id: place for place, client_id in enumerate(seen.ids)}
    direct = np.minimum(seen.columns.transfer_seconds(policy.model_bytes), MAX_SECONDS)
    fits = np.minimum(train_seconds(seen.columns, policy), MAX_SECONDS)
    transfers = [_way(client_id, parent, places, direct, links, policy) for client_id, parent in plan.parents.items()]
    chosen = [places[client_id] for client_id in plan.parents]
    numbers = elastic_epochs(policy.local_epochs, 2 * np.array(transfers), fits[chosen]).tolist()
    whole = policy.local_epochs
    found = {
        client_id: number if client_id in elastic and (parent is None or parent in elastic) else whole
        for (client_id, parent), number in zip(plan.parents.items(), numbers, strict=True)
    }
    return {
        client_id: number
        for client_id, number in found.items()
        if number < whole or found[plan.parents[client_id] or client_id] < whole
    }


def _way(  # noqa: PLR0917  (what a way depends on)
    client_id: str,
    relay: str | None,
    places: Mapping[str, int],
    direct: Floats,
    links: Connectivity,
    policy: SelectionPolicy,
) -> float:
    """Return the seconds that a model takes to a client, over its relay if it has one."""
    if relay is None:
        return float(direct[places[client_id]])
    hop = links.neighbours(client_id).get(relay, 0.0) * policy.model_bytes / BYTES_PER_MB
    return float(direct[places[relay]]) + min(hop, MAX_SECONDS)


def begun(selection: Selection, epochs: Mapping[str, int]) -> Iterator[Participation]:
    """Yield the participations with which a round begins, with their `planned_epochs`."""
    for one in selection.selected:
        yield Participation(
            client_id=one.client_id,
            status="training",
            score=one.score,
            components=one.components,
            local_epochs=epochs.get(one.client_id),
        )


def takes_partial(config: TrainingConfig) -> bool:
    """Tell whether a client may hand over a part of its work at the deadline: it needs weights, and nobody's mean."""
    return config.aggregation in WEIGHTS and config.topology == "star"


def handover_margin(seconds: float, transfer: float) -> float:
    """Return how many seconds before a task's deadline its client should hand over what it has, above 0.

    It is a tenth of the time, at most a minute, and two transfers: an agent does not count the time in which the task
    itself has travelled. It is at most half of the time.

    Args:
        seconds: that the task has, above 0.
        transfer: the seconds for which the model travels to the client, at least 0.
    """
    return min(seconds / 2, min(MARGIN_SHARE * seconds, MOST_MARGIN) + 2 * transfer)


def whole_seconds(seconds: float, part: Participation, config: TrainingConfig) -> float:
    """Return how many seconds a client would take for all epochs that has taken `seconds` for its part of them."""
    asked = seconds / part.share
    return asked if part.local_epochs is None else asked * local_epochs(config) / part.local_epochs
