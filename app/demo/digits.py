"""Load real handwritten digits (UCI, 8 by 8 pixels, from scikit-learn's wheel), and split them unevenly over clients.

The shares of each class are drawn from a Dirichlet distribution (Hsu, Qi, Brown, "Measuring the effects of
non-identical data distribution for federated visual classification", 2019). The smaller its concentration is, the fewer
clients have most of a class. With 0.3, most clients have a few of the ten digits and hardly any of the others.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

CLASSES = 10
CONCENTRATION = 0.3
HELD_OUT = 0.2  # share of each client's digits that is only used to measure
LARGEST_LEAST = 5  # the least number of digits of a client, if there are enough
DARKEST = 16.0

Inputs = npt.NDArray[np.float32]
Labels = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Shard:
    """The digits of one client: pixels (n, 64) in 0..1 and labels (n,), for training and for measuring."""

    train_inputs: Inputs
    train_labels: Labels
    test_inputs: Inputs
    test_labels: Labels


def shards(clients: int, rng: np.random.Generator) -> list[Shard]:
    """Split all 1 797 digits over the clients. Each digit belongs to exactly one client."""
    digits = load_digits()
    inputs = (digits.data / DARKEST).astype(np.float32)
    labels = digits.target.astype(np.intp)
    return [_shard(inputs, labels, rows, rng) for rows in partition(labels, clients, CONCENTRATION, rng)]


def partition(labels: Labels, clients: int, concentration: float, rng: np.random.Generator) -> list[Labels]:
    """Return the numbers of the rows that each client gets.

    Every client gets at least `LARGEST_LEAST` rows, or half of an even share if that is less. If a client has fewer, it
    gets the missing rows from the client that has most.
    """
    dealt: list[list[Labels]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients, concentration))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(rows)).astype(np.intp)
        for hand, part in zip(dealt, np.split(rows, cuts), strict=True):
            hand.append(part)
    parts = [rng.permutation(np.concatenate(hand)) for hand in dealt]
    least = min(LARGEST_LEAST, len(labels) // clients // 2)
    for poor, part in enumerate(parts):
        lacking = least - len(part)
        if lacking > 0:
            rich = max(range(clients), key=lambda client: len(parts[client]))
            parts[poor] = np.concatenate([part, parts[rich][:lacking]])
            parts[rich] = parts[rich][lacking:]
    return parts


def _shard(inputs: Inputs, labels: Labels, rows: Labels, rng: np.random.Generator) -> Shard:
    """Split the rows of a client into those to train on and those to measure with, at least one each."""
    cut = min(max(1, round(len(rows) * HELD_OUT)), len(rows) - 1)
    shuffled = rng.permutation(rows)
    test, train = shuffled[:cut], shuffled[cut:]
    return Shard(inputs[train], labels[train], inputs[test], labels[test])
