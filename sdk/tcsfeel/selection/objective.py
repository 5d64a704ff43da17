"""Judge a *set* of clients: skewed clients whose pooled labels are balanced train like balanced data.

Judging clients one by one prefers look-alikes and repeats them. With h_i the label counts of client i, n_i their sum,
p* the global label shares, r_i its reliability, c_i its cost, t_i its expected seconds and Q_i its participation debt,

    F(S) = w_data * Balance(S) + 1/2 w_comm * Communication(S) + 3/4 w_compute * Time(S) - w_fair * Debt(S)

is to be minimised, where

    Balance        = (||sum r_i (h_i - n_i p*)||^2 + sum r_i (1 - r_i) ||h_i - n_i p*||^2) / (sum r_i n_i)^2,
                     the expected skew of what will arrive, failures included, over that of a random set (first term)
    Communication  = the cost of the links that serve S, over |S| times the mean c (`links`: a star, or a relay tree)
    Time           = max t_i over its expectation for a random set: slow clients share a round, not one in each
    Debt           = the mean of Q_i; more for who is yet to be explored (`Pool.urgency`)

Every term is about 1 for a random set (Debt about 0), so the weights compare like with like. The fractions are what
trained best with equal weights (`benchmarks/selection`, on 12 seeds that no figure in the docs comes from): a client
that is fast and near is so in every round, and would be chosen again and again. All terms but a relay tree's
cost are functions of sums and a maximum over S, held in `Sums`: that makes a set and each of its N extensions cheap to
evaluate at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.pool import Pool

COMMUNICATION, TIME = 0.5, 0.75  # fractions of their weights; see above

Floats = npt.NDArray[np.float64]
Positions = Sequence[int] | Sequence[Sequence[int]] | npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Sums:
    """What F needs to know of a set, or of M sets of one size stacked along the first axis.

    Attributes:
        size: |S|.
        skew: (..., C) sum of r_i (h_i - n_i p*).
        variance: (...) sum of r_i (1 - r_i) ||h_i - n_i p*||^2.
        samples: (...) sum of r_i n_i.
        cost: (...) of the links, s.
        slowest: (...) largest t_i, s.
        debt: (...) sum of Q_i.
    """

    size: int
    skew: Floats
    variance: Floats
    samples: Floats
    cost: Floats
    slowest: Floats
    debt: Floats


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of F, unweighted or weighted; of one set, of M sets, or of each member's share."""

    balance: Floats
    communication: Floats
    time: Floats
    debt: Floats


@dataclass(frozen=True)
class Objective:
    """F over sets of the pool's N candidates.

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
        skew = (_squared(sums.skew) + sums.variance) / (sums.samples * sums.samples)
        return self._terms(sums.size, skew, sums.cost, sums.slowest, sums.debt)

    def shares(self, members: Sequence[int]) -> Terms:
        """Return (K,) what each member contributes to the terms; each term's shares add up to the term.

        Balance is a quadratic form, so a member's share is its part of the sum's square. The maximum in Time is shared
        as the costs of a runway are: each step up the sorted t_i by all who are at least that slow (Littlechild, Owen,
        "A simple expression for the Shapley value in a special case", 1973).
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
        """Return what sets of a size, or their members, have, relative to a random set of that size."""
        return Terms(
            _over(skew, float(self._random_skew[size])),
            _over(cost, size * float(self.pool.costs.mean())),
            _over(seconds, float(self._random_slowest[size])),
            debt / size,
        )

    @cached_property
    def _random_skew(self) -> Floats:
        """E||sum r_i (h_i - n_i p*)||^2 / E(sum r_i n_i)^2 over uniformly random sets, to first order, by their size.

        The only set of all N may have no skew at all to be measured by; it is measured by the sets of N - 1.
        """
        one, count = self.singles, len(self.pool.candidates)
        sizes = np.clip(np.arange(self._largest + 1), 1, max(count - 1, 1))
        return _expected_square(one.skew, sizes) / _expected_square(one.samples[:, np.newaxis], sizes)

    @cached_property
    def _random_slowest(self) -> Floats:
        """Return E max t_i over uniformly random sets, by their size.

        Of the C(N, K) sets C(j, K) lie within the j fastest, so P(max <= t_(j)) is the product of (j - i) / (N - i)
        over i < K, and each size follows from the one before.
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
        """Return the size of the largest set that is asked for."""
        return min(self.pool.policy.max_clients, len(self.pool.candidates))

    def sums(self, members: Positions) -> Sums:
        """Return the sums of one set, (K,) positions, or of M sets, (M, K)."""
        chosen = np.asarray(members, dtype=np.intp)
        return self._sums(chosen, self.pool.links.cost(np.atleast_2d(chosen)).reshape(chosen.shape[:-1]))

    def with_each(self, members: Sequence[int]) -> Sums:
        """Return the sums of the N unions of one set and each candidate; with relays the cost is an estimate."""
        cost = self.pool.links.cost_with_each(members)
        whole, one = self._sums(np.asarray(members, dtype=np.intp), cost), self.singles
        return Sums(
            whole.size + 1,
            whole.skew + one.skew,
            whole.variance + one.variance,
            whole.samples + one.samples,
            cost,
            np.maximum(whole.slowest, one.slowest),
            whole.debt + one.debt,
        )

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
        """Return the sums of the N sets of one candidate."""
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
    """E||sum over S of values_i||^2 for uniformly random S out of N, for each of `sizes`: values is (N, C).

    A client is in S with probability K/N, a pair of different ones with K(K - 1) / (N(N - 1)).
    """
    count = len(values)
    alone = float((values * values).sum())
    pairs = float((values.sum(axis=0) ** 2).sum()) - alone
    return sizes / count * (alone + (sizes - 1) / max(count - 1, 1) * pairs)


def _squared(vectors: Floats) -> Floats:
    """Return (...) the squared lengths of (..., C) vectors."""
    return np.asarray((vectors * vectors).sum(axis=-1))


def _over(values: Floats, scale: float) -> Floats:
    """Divide values by `scale`; if that is 0, the result is 0."""
    return values / scale if scale > 0 else np.zeros_like(values)
