"""Compute weighted means.

The mean of FedNova (Wang et al., "Tackling the objective inconsistency problem in heterogeneous federated
optimization", 2020) is that of the changes that each update made in one local step. Without it, a client that takes
more steps pulls the model further towards its own data. With shares p of the examples and numbers of steps t, and
T = sum(p * t), the new model is w + T * sum(p * (w_i - w) / t_i).
"""

from collections.abc import Callable, Mapping, Sequence
from operator import mul, truediv

from tcsfeel.aggregation.blocks import Block, Combine, Updates, values
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.updates import UpdateFacts
from tcsfeel.errors import UnusableRound
from tcsfeel.wire.tasks import ACCURACY

NO_WEIGHT = "the updates' weights add up to zero"


def by_examples(update: UpdateFacts) -> float:
    """Weigh each update by its examples: FedAvg (McMahan et al., 2017)."""
    return float(update.num_examples)


def equally(_update: UpdateFacts) -> float:
    """Weigh all updates the same: SCAFFOLD (Karimireddy et al., 2020)."""
    return 1.0


def by_examples_and_accuracy(update: UpdateFacts) -> float:
    """Weigh each update by its examples times its accuracy, so that an update with the accuracy 0 has no weight."""
    return update.num_examples * update.metrics.get(ACCURACY, 0.0)


PENALTY = 0.03  # of the rule `balanced`, for weights that differ from those of `fedavg`
# FedProx (Li et al., 2020) differs from FedAvg in the trainer's loss alone: `proximal_mu` is handed to it.
WEIGHTS: Mapping[Aggregation, Callable[[UpdateFacts], float]] = {
    "fedavg": by_examples,
    "fedprox": by_examples,
    "weighted": by_examples_and_accuracy,
    "balanced": by_examples,  # which the server moves until the labels are balanced
    "fednova": by_examples,
    "scaffold": equally,
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
        raise UnusableRound(NO_WEIGHT)
    return lambda name, rows: updates.mean(weights, name, rows)


def normalised_mean(updates: Updates, weights: Sequence[float], steps: Sequence[float]) -> Combine:
    """Return FedNova's mean: of the tensors that are learnt by step, of all others as they are.

    Args:
        updates: at least one.
        weights: one for each update.
        steps: how many local steps each update took, at least 1.

    Raises:
        UnusableRound: there is no update, or no weight above zero.
    """
    plain = weighted_mean(updates, weights)
    if len(set(steps)) == 1:
        return plain  # to the bit
    total = sum(weights)
    shares = [weight / total for weight in weights]
    by_step: list[float] = list(map(truediv, shares, steps))
    stretch: float = sum(by_step) * sum(map(mul, shares, steps))

    def combine(name: str, rows: slice) -> Block:
        if name not in updates.learnt:
            return plain(name, rows)
        now = values(updates.model, name, rows)
        return now + stretch * (updates.mean(by_step, name, rows) - now)

    return combine
