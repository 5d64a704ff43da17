"""Judge a *set* of clients: clients with skewed labels train like balanced data if their pooled labels are balanced.

The objective F of a set S is minimised. With h_i the label counts of client i, n_i their sum, p* the global label
shares, r_i its reliability, c_i its cost, t_i its expected seconds and Q_i its participation debt, it is

    F(S) = w_data * Balance(S) + 1/2 w_comm * Communication(S) + 3/4 w_compute * Time(S) - w_fair * Debt(S)

where

    Balance        = (||sum r_i (h_i - n_i p*)||^2 + sum r_i (1 - r_i) ||h_i - n_i p*||^2) / (sum r_i n_i)^2,
                     the expected skew of the updates that arrive, divided by that of a random set (first term)
    Communication  = the cost of the links that S needs, divided by |S| times the mean c (`links`: star or relay tree)
    Time           = max t_i divided by its expectation for a random set, so that slow clients come in the same round
    Debt           = the mean of Q_i, which is larger for clients that were never tried (`Pool.urgency`)

Each term is about 1 for a random set (Debt is about 0). The fractions 1/2 and 3/4 trained best with equal weights: a
fast client with a good link has both in every round, and would otherwise be selected again and again. All terms except
the cost of a relay tree are functions of sums and of a maximum over S, which are held in `Sums`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.pool import Pool

COMMUNICATION, TIME = 0.5, 0.75  # the fractions of their weights in F

Floats = npt.NDArray[np.float64]
Positions = Sequence[int] | Sequence[Sequence[int]] | npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums over a set from which F is computed, or those over M sets of one size, stacked along the first axis.

    Attributes:
        size: the number of clients, |S|.
        skew: (..., C) the sum of r_i (h_i - n_i p*).
        variance: (...) the sum of r_i (1 - r_i) ||h_i - n_i p*||^2.
        samples: (...) the sum of r_i n_i.
        cost: (...) the cost of the links in seconds.
        slowest: (...) the largest t_i in seconds.
        debt: (...) the sum of Q_i.
        square: (...) the squared length of `skew`, if it is known; `skew` is then without the added candidates.
    """

    size: int
    skew: Floats
    variance: Floats
    samples: Floats
    cost: Floats
    slowest: Floats
    debt: Floats
    square: Floats | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of F, with or without weights, for one set, for M sets, or for the shares of each member."""

    balance: Floats
    communication: Floats
    time: Floats
    debt: Floats


@dataclass(frozen=True)
class Objective:
    """Computes F for sets of the pool's N candidates.

    Attributes:
        pool: the candidates, with the policy's weights.
    """

    pool: Pool

    def value(self, sums: Sums) -> Floats:
        """Return F, one value for each set in `sums`."""
        weighted = self.weighted(self.terms(sums))
        return weighted.balance + weighted.communication + weighted.time - weighted.debt

    def weighted(self, terms: Terms) -> Terms:
        """Return each term times its weight."""
        w = self.pool.policy.weights
        return Terms(
            w.data_quality * terms.balance,
            COMMUNICATION * w.communication * terms.communication,
            TIME * w.compute * terms.time,
            w.fairness * terms.debt,
        )

    def terms(self, sums: Sums) -> Terms:
        """Return the terms of F for each set in `sums`."""
        if not sums.skew.shape[-1]:  # nothing is known of labels: every set is balanced
            return self._terms(sums.size, np.zeros_like(sums.debt), sums.cost, sums.slowest, sums.debt)
        square = _squared(sums.skew) if sums.square is None else sums.square
        skew = (square + sums.variance) / (sums.samples * sums.samples)
        return self._terms(sums.size, skew, sums.cost, sums.slowest, sums.debt)

    def shares(self, members: Sequence[int]) -> Terms:
        """Return what each member contributes to the terms (K,). The shares of a term add up to the term.

        Balance is a quadratic form, so a member's share is its part of the square of the sum. The maximum in Time is
        shared like the costs of a runway: all clients that are at least that slow share each step between the sorted
        t_i (Littlechild, Owen, "A simple expression for the Shapley value in a special case", 1973).
        """
        chosen = np.asarray(members, dtype=np.intp)
        whole, one, size = self.sums(chosen), self.singles, len(chosen)
        skew = (one.skew[chosen] @ whole.skew + one.variance[chosen]) / (whole.samples * whole.samples)
        seconds = one.slowest[chosen]
        order = np.argsort(seconds)
        steps = np.diff(seconds[order], prepend=0.0) / np.arange(size, 0, -1)
        slowness = np.empty(size)
        slowness[order] = np.cumsum(steps)
        return self._terms(size, skew, self.pool.links.tree(members).costs, slowness, one.debt[chosen])

    def _terms(self, size: int, skew: Floats, cost: Floats, seconds: Floats, debt: Floats) -> Terms:
        """Return the terms of sets of a size, or of their members, divided by those of a random set of that size."""
        return Terms(
            _over(skew, float(self._random_skew[size])),
            _over(cost, size * float(self.pool.costs.mean())),
            _over(seconds, float(self._random_slowest[size])),
            debt / size,
        )

    @cached_property
    def _random_skew(self) -> Floats:
        """Return the expected skew of uniformly random sets, by their size.

        It is E||sum r_i (h_i - n_i p*)||^2 / E(sum r_i n_i)^2, to first order. The only set of all N candidates may
        have no skew at all, so the value of the sets of N - 1 is used for it.
        """
        one, count = self.singles, len(self.pool.candidates)
        sizes = np.clip(np.arange(self._largest + 1), 1, max(count - 1, 1))
        return _expected_square(one.skew, sizes) / _expected_square(one.samples[:, np.newaxis], sizes)

    @cached_property
    def _random_slowest(self) -> Floats:
        """Return the expected maximum of t_i over uniformly random sets, by their size.

        C(j, K) of the C(N, K) sets have only members among the j fastest candidates. So P(max <= t_(j)) is the product
        of (j - i) / (N - i) over i < K, and each size follows from the size before.
        """
        ascending = np.sort(self.pool.seconds)
        count = len(ascending)
        faster = np.arange(1, count + 1)
        below = np.ones(count)
        expected = [0.0]
        for taken in range(self._largest):
            below = below * np.maximum(faster - taken, 0) / (count - taken)
            expected.append(float(np.diff(below, prepend=0.0) @ ascending))
        return np.array(expected)

    @property
    def _largest(self) -> int:
        """Return the size of the largest set that the policy allows."""
        return min(self.pool.policy.max_clients, len(self.pool.candidates))

    def sums(self, members: Positions) -> Sums:
        """Return the sums of one set with the positions (K,), or of M sets with the positions (M, K)."""
        chosen = np.asarray(members, dtype=np.intp)
        return self._sums(chosen, self.pool.links.cost(np.atleast_2d(chosen)).reshape(chosen.shape[:-1]))

    def with_each(self, members: Sequence[int]) -> Sums:
        """Return the sums of a set together with each of the N candidates. With relays, the cost is an estimate."""
        cost = self.pool.links.cost_with_each(members)
        whole, one = self._sums(np.asarray(members, dtype=np.intp), cost), self.singles
        moved = whole.skew + self._skewed[1]
        square = np.full(len(cost), _squared(moved)[-1] if len(moved) else 0.0)
        square[self._skewed[0]] = _squared(moved)
        return Sums(
            whole.size + 1,
            whole.skew,
            whole.variance + one.variance,
            whole.samples + one.samples,
            cost,
            np.maximum(whole.slowest, one.slowest),
            whole.debt + one.debt,
            square,
        )

    @cached_property
    def _skewed(self) -> tuple[npt.NDArray[np.intp], Floats]:
        """Return the positions of the candidates with a skew, and of one without, and their skews.

        Of most clients of a large fleet nothing is known yet. They have no skew, and the same square in each set.
        """
        skew = self.singles.skew
        known = skew.any(axis=1)
        places = np.concatenate((np.flatnonzero(known), np.flatnonzero(~known)[:1]))
        return places, np.asfortranarray(skew[places])

    def _sums(self, chosen: npt.NDArray[np.intp], cost: Floats) -> Sums:
        one = self.singles
        return Sums(
            chosen.shape[-1],
            one.skew[chosen].sum(axis=-2),
            one.variance[chosen].sum(axis=-1),
            one.samples[chosen].sum(axis=-1),
            cost,
            one.slowest[chosen].max(axis=-1, initial=0.0),
            one.debt[chosen].sum(axis=-1),
        )

    @cached_property
    def singles(self) -> Sums:
        """Return the sums of the N sets with only one candidate."""
        pool = self.pool
        r, n = pool.reliability, pool.samples
        apart = n[:, np.newaxis] * pool.skew  # h_i - n_i p*
        return Sums(
            size=1,
            skew=np.asfortranarray(r[:, np.newaxis] * apart),  # summed over C, N at a time
            variance=r * (1 - r) * _squared(apart),
            samples=r * n,
            cost=pool.costs,
            slowest=pool.seconds,
            debt=pool.urgency,
        )


def _expected_square(values: Floats, sizes: npt.NDArray[np.intp]) -> Floats:
    """Return E||sum over S of values_i||^2 for uniformly random sets S of each of `sizes`. The values are (N, C).

    A client is in S with the probability K/N, and a pair of different clients with K(K - 1) / (N(N - 1)).
    """
    count = len(values)
    alone = float((values * values).sum())
    pairs = float((values.sum(axis=0) ** 2).sum()) - alone
    return sizes / count * (alone + (sizes - 1) / max(count - 1, 1) * pairs)


def _squared(vectors: Floats) -> Floats:
    """Return the squared lengths (...) of vectors (..., C)."""
    return np.asarray((vectors * vectors).sum(axis=-1))


def _over(values: Floats, scale: float) -> Floats:
    """Divide values by `scale`; if that is 0, the result is 0."""
    return values / scale if scale > 0 else np.zeros_like(values)
