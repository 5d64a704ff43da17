"""Weigh updates so that the labels behind them are those of the whole fleet.

A round whose updates stand for some labels more than for others pulls the model towards these labels. With weights
that differ a little from those of FedAvg, the updates that arrived can stand for the fleet's labels more evenly. With
the label shares q_i of K updates, the fleet's shares p*, and FedAvg's shares of the weight v_i, the weights w minimise

    ||sum w_i q_i - p*||^2 + penalty / K * sum (w_i - v_i)^2 / v_i      where w_i >= 0 and sum w_i = 1.

The second term keeps the variance of the mean low: without it, few updates would have all of the weight. If the label
shares of all updates are equal, the weights are those of FedAvg; and also as the penalty becomes large.
"""

# The problem is convex. With c = penalty / K and the skews s_i = q_i - p* (C,), the solution is
#
#     w_i = v_i * max(0, 1 + b - s_i . a)        where c * a = sum w_i s_i and sum w_i = 1
#
# for some a (C,) and b. These are the gradient of a convex function of a and b, whose second derivative is constant
# between kinks. So Newton's method finds its minimum in a few steps, in a time that is linear in K.
#
# Some updates may have been averaged already, by a relay, with the weights v_i. Then the weights within such a mean
# keep their proportions, and the problem is the same with one weight for each mean: with w_i = W_g v_i / V_g for the
# members i of a mean g, V_g the sum of their v_i, and q_g the mean of their label shares,
#
#     penalty / K * sum (w_i - v_i)^2 / v_i = penalty / K * sum (W_g - V_g)^2 / V_g

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcsfeel.aggregation.config import AggregationConfig
from tcsfeel.aggregation.mean import PENALTY
from tcsfeel.aggregation.weights import bounded, largest_share

Floats = npt.NDArray[np.float64]

STEPS = 100  # far more than are needed: the weights of every step are on the simplex
HALVINGS = 40
ROUNDING = 1e-9  # a share that is larger by this part of it is as large
ENOUGH = 1e-13  # a smaller gradient is a rounding error


def balanced(weights: Sequence[float], skew: Floats, penalty: float = PENALTY) -> list[float]:
    """Return the weights (K,) that balance the labels, with the sum 1.

    Args:
        weights: those of FedAvg, each at least 0, with a sum above 0.
        skew: (K, C) how the label shares of each update differ from those of the fleet; 0 if they are not known.
        penalty: of weights that differ from those of FedAvg, above 0.
    """
    given = np.asarray(weights, np.float64)
    shares = given / given.max()
    shares /= shares.sum()
    if not skew.any():
        return [float(share) for share in shares]
    problem = _Problem(shares, _narrowed(skew), penalty / len(shares))
    found = problem.weights(problem.minimum())
    return [float(weight) for weight in found / found.sum()]


def balanced_in_means(
    sums: Floats, parts: Floats, skew: Floats, means: npt.NDArray[np.intp], penalty: float = PENALTY
) -> Floats:
    """Return the weights (K,) that balance the labels, where some updates have been averaged already.

    Args:
        sums: (G,) the weight of each mean without balance, each at least 0, with a sum above 0.
        parts: (K,) the part of its mean that each update is, with the sum 1 in each mean.
        skew: (K, C) that of `balanced`.
        means: (K,) the number of the mean that each update is in, from 0 to G - 1.
        penalty: of weights that differ from those without balance, above 0.
    """
    pooled = np.zeros((len(sums), skew.shape[1]))
    np.add.at(pooled, means, parts[:, np.newaxis] * skew)
    found = np.asarray(balanced(sums.tolist(), pooled, penalty * (len(sums) / len(parts))))
    return np.asarray(found[means] * parts)


def balanced_within_bounds(
    examples: Sequence[float], skew: Floats, config: AggregationConfig, means: Sequence[int] | None = None
) -> list[float]:
    """Return the weights (K,) that balance the labels, with the sum 1, within the bounds of a client's weight.

    A mean whose largest member would exceed the bounds is made smaller as a whole.

    Args:
        examples: of each update, each at least 0, with a sum above 0. Updates in a mean were averaged by them.
        skew: that of `balanced`.
        config: may say `server_balance_penalty`, and how much one client may weigh.
        means: (K,) the number of the mean that each update is in, from 0 on, without gaps; None if each is on its own.
    """
    given, usual = np.asarray(examples, np.float64), np.asarray(bounded(examples, config), np.float64)
    places = np.arange(len(given)) if means is None else np.asarray(means, np.intp)
    parts = np.divide(given, np.bincount(places, given)[places], out=np.zeros_like(given), where=given > 0.0)
    sums = np.asarray(np.bincount(places, usual), np.float64)
    count = int((usual > 0.0).sum())
    found = balanced_in_means(sums, parts, skew, places, config.hyperparameter("server_balance_penalty", PENALTY))
    limited = np.asarray(bounded(found.tolist(), config, of=count))
    factors = np.ones(len(sums))
    np.minimum.at(factors, places, np.divide(limited, found, out=np.ones_like(found), where=found > 0.0))
    return moderated(list(found * factors[places]), list(sums[places] * parts), largest_share(config, count))


def moderated(weights: Sequence[float], usual: Sequence[float], largest: float) -> list[float]:
    """Return weights (K,) with the sum 1 that are moved towards the usual ones until none is above `largest`.

    If balance takes the weight of nearly all updates, no bound on single weights can keep the others from having
    everything. An update whose usual weight is `largest` or more already gets that.

    Args:
        weights: each at least 0, with a sum above 0.
        usual: those of FedAvg, each at least 0, with a sum above 0.
        largest: the share of one update, above 0.
    """
    new, old = (np.asarray(given, np.float64) / sum(given) for given in (weights, usual))
    above = new > largest * (1.0 + ROUNDING)
    if above.any():
        part = 0.0
        if (old[above] < largest).all():
            part = float(((largest - old[above]) / (new[above] - old[above])).min())
        new = old + part * (new - old)
    return [float(weight) for weight in new]


def _narrowed(skew: Floats) -> Floats:
    """Return skews with the same inner products in at most as many dimensions as there are updates."""
    return skew if skew.shape[1] <= skew.shape[0] else np.linalg.qr(skew.T)[1].T


class _Problem:
    """The dual problem: minimise c/2 ||a||^2 + 1/2 sum v_i max(0, 1 + b - s_i . a)^2 - b over the point (a, b)."""

    def __init__(self, shares: Floats, skew: Floats, scale: float) -> None:
        self._shares = shares
        self._slopes = np.hstack([-skew, np.ones((len(shares), 1))])  # (K, C + 1), of each factor over the point
        self._scale = np.append(np.full(skew.shape[1], scale), 0.0)
        self._last = np.append(np.zeros(skew.shape[1]), 1.0)

    def _factors(self, point: Floats) -> Floats:
        return np.maximum(0.0, 1.0 + self._slopes @ point)

    def weights(self, point: Floats) -> Floats:
        """Return the weights (K,) that belong to a point, not divided by their sum."""
        return np.asarray(self._shares * self._factors(point))

    def _value(self, point: Floats) -> float:
        factors = self._factors(point)
        return float(self._scale @ point**2 / 2 + self._shares @ factors**2 / 2 - point[-1])

    def minimum(self) -> Floats:
        """Find the point by Newton's method, with steps that are halved until the value falls."""
        point, value = np.zeros_like(self._scale), self._value(np.zeros_like(self._scale))
        for _ in range(STEPS):
            weights = self.weights(point)
            gradient = self._scale * point + self._slopes.T @ weights - self._last
            if np.abs(gradient).max() <= ENOUGH:
                break
            active = self._slopes * np.where(weights > 0, self._shares, 0.0)[:, np.newaxis]
            step = np.linalg.lstsq(active.T @ self._slopes + np.diag(self._scale), gradient, rcond=None)[0]
            for _ in range(HALVINGS):
                lower = self._value(point - step)
                if lower < value:
                    break
                step /= 2
            else:
                break  # no step makes it lower: what is left of the gradient is a rounding error
            point, value = point - step, lower
        return point
