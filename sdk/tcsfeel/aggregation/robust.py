"""Combine updates so that a minority of hostile or broken ones cannot determine the result.

Every update counts once. If updates counted by their number of examples, a client could get more influence by claiming
more examples. Distances are Euclidean over all tensors, where integers and booleans count as numbers.

- median, trimmed mean: Yin et al., "Byzantine-robust distributed learning", 2018
- krum, multi-krum: Blanchard et al., "Machine learning with adversaries", 2017
- geometric median: Pillutla, Kakade, Harchaoui, "Robust aggregation for federated learning", 2022
"""

import math
from collections.abc import Sequence

import numpy as np

from tcsfeel.aggregation.blocks import Block, Combine, Updates, squared_length
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.mean import weighted_mean

BYZANTINE_SHARE = 0.25  # of the updates may be hostile, if a training does not say how many
TRIM_FRACTION = 0.25  # at each end
MOST_STEPS = 50  # of Weiszfeld's algorithm; each reads all updates once
TOLERANCE = 1e-9  # relative to the sum of distances; the last step is the first that gains less
NEAR = 1e-6  # smaller distances count as this one


def usual_byzantine(count: int) -> int:
    """Return how many of `count` updates krum assumes to be hostile if the training does not say.

    A quarter, rounded up, as far as krum can with so many updates; and at least one, so that too few updates are an
    error instead of a rule that does not protect at all.
    """
    return max(1, min(math.ceil(BYZANTINE_SHARE * count), (count - 3) // 2))


def shortage(rule: Aggregation, count: int, byzantine: int) -> str | None:
    """Say why `count` updates are too few against `byzantine` hostile ones; None if they are enough."""
    if rule in {"krum", "multi_krum"} and count < (least := 2 * byzantine + 3):
        return f"{rule} against f = {byzantine} hostile updates needs at least 2f + 3 = {least}, there are {count}"
    return "there are no updates" if count == 0 else None


def trimmed(count: int, fraction: float) -> int:
    """Return how many of `count` values are cut at each end: rounded up for small numbers, but never all."""
    return min(math.ceil(fraction * count - 1e-9), (count - 1) // 2)


def median(updates: Updates) -> Combine:
    """Return the middle value at each place, or half-way between the two middle ones."""
    return lambda name, rows: _median(updates.all(name, rows))


def trimmed_mean(updates: Updates, fraction: float) -> Combine:
    """Return the mean at each place without the `trimmed` smallest and largest values."""
    cut = trimmed(len(updates), fraction)

    def combine(name: str, rows: slice) -> Block:
        stack = updates.all(name, rows)
        stack.sort(axis=0)
        kept = stack[cut : len(updates) - cut]
        mean: Block = kept.mean(axis=0)
        return mean

    return combine


def krum(updates: Updates, byzantine: int, keep: int) -> Combine:
    """Return the mean of the `keep` updates with the best scores; of equal ones the first.

    An update's score is the sum of its squared distances to the nearest `n - byzantine - 2` others, small is good.
    """
    distances = squared_distances(updates)
    nearest = len(updates) - byzantine - 2
    scores = [sum(sorted(np.delete(row, index))[:nearest]) for index, row in enumerate(distances)]
    chosen = set(sorted(range(len(scores)), key=lambda index: (scores[index], index))[:keep])
    return weighted_mean(updates, [float(index in chosen) for index in range(len(updates))])


def geometric_median(updates: Updates) -> Combine:
    """Return the point with the smallest sum of distances to all updates, by Weiszfeld's algorithm.

    It starts from the updates weighted by how near they are to the median at each place, and not from their mean. With
    the mean, it would take very many steps to get away from a single update of huge values.
    """
    weights = _nearness(_distances(updates, median(updates)))
    least = math.inf
    for _ in range(MOST_STEPS):
        distances = _distances(updates, weighted_mean(updates, weights))
        objective = sum(max(distance, NEAR) for distance in distances)
        if not objective < least * (1 - TOLERANCE):
            break
        least, weights = objective, _nearness(distances)
    return weighted_mean(updates, weights)


def squared_distances(updates: Updates) -> Block:
    """Return the squared distances between each two updates: [updates, updates]."""
    count = len(updates)
    found = np.zeros((count, count))
    for name, rows in updates.blocks():
        stack = updates.all(name, rows)
        for one in range(count):
            for other in range(one + 1, count):
                found[one, other] += squared_length(stack[other] - stack[one])
    return found + found.T


def _median(stack: Block) -> Block:
    count = len(stack)
    stack.sort(axis=0)
    lower, upper = stack[(count - 1) // 2], stack[count // 2]
    middle: Block = lower / 2 + upper / 2 if count % 2 == 0 else upper
    return middle


def _distances(updates: Updates, centre: Combine) -> list[float]:
    squared = [0.0] * len(updates)
    for name, rows in updates.blocks():
        middle = centre(name, rows)
        for index in range(len(updates)):
            squared[index] += squared_length(updates.one(index, name, rows) - middle)
    return [math.sqrt(value) for value in squared]


def _nearness(distances: Sequence[float]) -> list[float]:
    return [1 / max(distance, NEAR) for distance in distances]
