"""Compute weighted means."""

from collections.abc import Callable, Mapping, Sequence

from tcsfeel.aggregation.blocks import Combine, Updates
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.updates import UpdateFacts
from tcsfeel.errors import UnusableRound
from tcsfeel.wire.tasks import ACCURACY


def by_examples(update: UpdateFacts) -> float:
    """Weigh each update by its examples: FedAvg (McMahan et al., 2017)."""
    return float(update.num_examples)


def by_examples_and_accuracy(update: UpdateFacts) -> float:
    """Weigh each update by its examples times its accuracy, so that an update with the accuracy 0 has no weight."""
    return update.num_examples * update.metrics.get(ACCURACY, 0.0)


# FedProx (Li et al., 2020) differs from FedAvg in the trainer's loss alone: `proximal_mu` is handed to it.
WEIGHTS: Mapping[Aggregation, Callable[[UpdateFacts], float]] = {
    "fedavg": by_examples,
    "fedprox": by_examples,
    "weighted": by_examples_and_accuracy,
    "fedavgm": by_examples,
    "fedadam": by_examples,
    "fedyogi": by_examples,
    "fedadagrad": by_examples,
}


def weighted_mean(updates: Updates, weights: Sequence[float]) -> Combine:
    """Return the mean with one weight for each update.

    Raises:
        UnusableRound: there is no update, or no weight above zero.
    """
    if sum(weights) <= 0:
        raise UnusableRound("the updates' weights add up to zero")
    return lambda name, rows: updates.mean(weights, name, rows)
