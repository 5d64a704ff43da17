"""Limit the weight that one client can claim in a mean.

A client claims how many examples its update or measurement stands for, and the server cannot check it. Two bounds limit
the effect of a false claim. Honest fleets do not reach either of them:

- No client weighs more than `LARGEST_MULTIPLE` times the median. With an even number of clients the median is the lower
  of the two in the middle, because a liar gains by claiming too much.
- Among at least `MANY` clients, no client has more than three even shares. With few clients the limit is half of the
  weight, so that no client outvotes all others together; with ten or more it is `LARGEST_SHARE`.

Weights that keep both bounds stay as they are, to the bit.

Nor can the server check how many local steps a client took. FedNova divides an update by them: too few enlarge the
update, and too many enlarge the whole round's step. So they count as at most `LARGEST_MULTIPLE` times the median, and
as at least the median divided by it.
"""

import math
from collections.abc import Sequence

from tcsfeel.aggregation.config import AggregationConfig

LARGEST_MULTIPLE = 10.0
MANY = 4  # with fewer clients, there is no telling what is usual
EVEN_SHARES = 3.0
MAJORITY, LARGEST_SHARE = 0.5, 0.3


def bounded(weights: Sequence[float], config: AggregationConfig, *, of: int | None = None) -> list[float]:
    """Return the weights, each at least 0 and finite, with those that are too large made smaller.

    Args:
        weights: one for each client.
        of: the number of clients that may have a weight; None if all of those without one could not have had any.
        config: may say `server_largest_multiple` and `server_largest_share`; with a share of 1 and a multiple of 1e12
            nothing is bounded.
    """
    counting = sorted(weight for weight in weights if weight > 0)
    if not counting:
        return list(weights)
    multiple = config.hyperparameter("server_largest_multiple", LARGEST_MULTIPLE)
    most = multiple * counting[(len(counting) - 1) // 2]
    share = largest_share(config, len(counting) if of is None else of)
    most = min(most, _most(sorted((min(weight, most) for weight in counting), reverse=True), share))
    return [min(weight, most) for weight in weights]


def bounded_steps(steps: Sequence[int], config: AggregationConfig) -> list[float]:
    """Return the numbers of local steps, with those that are far from the median moved closer to it.

    Args:
        steps: one for each client, at least 1.
        config: may say `server_largest_multiple`.
    """
    if not steps:
        return []
    multiple = config.hyperparameter("server_largest_multiple", LARGEST_MULTIPLE)
    middle = sorted(steps)[(len(steps) - 1) // 2]
    return [min(max(float(count), middle / multiple), middle * multiple) for count in steps]


def largest_share(config: AggregationConfig, count: int) -> float:
    """Return the largest share of the weight that one of `count` clients may have in a training."""
    return config.hyperparameter("server_largest_share", usual_share(count))


def usual_share(count: int) -> float:
    """Return the largest share of the weight that one of `count` clients may have by default."""
    return 1.0 if count < MANY else min(MAJORITY, max(LARGEST_SHARE, EVEN_SHARES / count))


def _most(descending: Sequence[float], share: float) -> float:
    """Find the largest weight at which no client has more than `share` of the sum of the weights, if cut off there.

    With the k largest cut off at t, and r the sum of the others, t = share * (k * t + r). If even equal weights are
    larger than the share, they become equal.
    """
    for count, weight in enumerate(descending):
        rest = math.fsum(descending[count:])
        room = 1.0 - share * count
        if room <= 0.0:
            return descending[count - 1]
        if weight <= (most := share * rest / room):
            return most
    return descending[-1]


def mean_of(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted mean, kept between the smallest and the largest value even if their sum overflows.

    Args:
        values: finite, at least one.
        weights: of each, at least 0, with a sum that is above 0 and finite.
    """
    total, scale = math.fsum(weights), max(map(abs, values))
    if scale == 0.0:
        return 0.0
    mean = scale * math.fsum(weight / total * (value / scale) for value, weight in zip(values, weights, strict=True))
    return min(max(mean, min(values)), max(values))
