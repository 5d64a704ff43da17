"""Compute what a round costs, and check it against the budget.

The budget is a hard limit: no set that is returned costs more, to the last bit. If clients relay updates, the cost of
the star counts, which is what the round would cost if every relay failed. Sums are made by `math.fsum`, which rounds
only once, so that they do not depend on the order, and a budget that equals the printed cost of a set admits that set.
While a set is smaller than its minimum, a client fits only if the cheapest clients that are still needed fit as well,
so that a greedy choice never leads to a dead end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tcsfeel.errors import BudgetTooSmall, NotEnoughClients
from tcsfeel.selection.pool import Pool

Floats = npt.NDArray[np.float64]

ROUNDING = 1e-12  # relative error of vectorised sums; `allows` compares the exact sum


@dataclass(frozen=True)
class Budget:
    """The costs of N candidates and the limit of their sum.

    Attributes:
        costs: (N,) the link time of each candidate in seconds, at least 0.
        limit: the most seconds that a set may cost; infinite without a limit.
        minimum: the least number of clients in a set.
    """

    costs: Floats
    limit: float
    minimum: int

    @classmethod
    def of(cls, pool: Pool) -> "Budget":
        """Make the budget of the pool's policy.

        Raises:
            NotEnoughClients: there are fewer candidates than the minimum.
            BudgetTooSmall: even the cheapest candidates cost too much.
        """
        policy = pool.policy
        available, required = len(pool.candidates), max(policy.min_clients, 1)
        if available < required:
            known = available if policy.known_clients is None else policy.known_clients
            raise NotEnoughClients(available, required, known)
        limit = math.inf if policy.budget_constraint is None else policy.budget_constraint
        budget = cls(pool.costs, limit, required)
        if limit < math.inf and not budget.allows(cheapest := budget.cheapest()):
            raise BudgetTooSmall(limit, budget.spent(cheapest), required)
        return budget

    def spent(self, members: Sequence[int]) -> float:
        """Return the cost of a set, in seconds."""
        return math.fsum(self.costs[list(members)])

    def allows(self, members: Sequence[int]) -> bool:
        return self.spent(members) <= self.limit

    def cheapest(self) -> list[int]:
        """Return the cheapest set of the minimum size."""
        return [int(position) for position in self._by_cost[: self.minimum]]

    def room(self, members: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Tell for each candidate (N,) whether it fits with `members` and leaves enough for the rest of the minimum."""
        joinable = np.ones(len(self.costs), dtype=bool)
        joinable[list(members)] = False
        if self.limit == math.inf:
            return joinable
        others = self._by_cost[joinable[self._by_cost]]
        needed = max(self.minimum - len(members) - 1, 0)
        reserve = self.costs[others[:needed]].sum()
        total = self.spent(members) + reserve + self.costs
        # A candidate that is among the cheapest needed ones leaves its place there to the next cheapest.
        following = self.costs[others[needed]] if needed < len(others) else 0.0
        total[others[:needed]] = self.spent(members) + reserve + following
        return np.asarray(joinable & (total <= self.limit * (1 + ROUNDING)))

    def settle(self, members: list[int]) -> list[int]:
        """Return `members`, or the cheapest set if rounding made them cost slightly too much."""
        return members if self.allows(members) else self.cheapest()

    @cached_property
    def _by_cost(self) -> npt.NDArray[np.intp]:
        return np.argsort(self.costs, kind="stable")


def fill(order: Sequence[int], members: Sequence[int], budget: Budget, size: int) -> list[int]:
    """Add candidates to `members` in `order` until there are `size`, without those that do not fit in the budget."""
    filled = list(members)
    rank = np.asarray(order, dtype=np.intp)
    if budget.limit == math.inf:  # they all fit
        filled += rank[budget.room(filled)[rank]][: max(size - len(filled), 0)].tolist()
    while len(filled) < size:
        fitting = rank[budget.room(filled)[rank]]
        if not len(fitting):
            break
        filled.append(int(fitting[0]))
    return budget.settle(filled)


def in_order(keys: Floats, budget: Budget, size: int) -> list[int]:
    """Return the candidates by their `keys` (N,); if they all fit in the budget, only the first `size`."""
    first = (
        np.argpartition(keys, size)[:size] if budget.limit == math.inf and size < len(keys) else np.arange(len(keys))
    )
    order: list[int] = first[np.argsort(keys[first])].tolist()
    return order


def lack_of_budget(left: float) -> str:
    """Say why clients are skipped whose cost is above what is left of the budget, with a place for the cost."""
    return f"it would add {{:.3g}} s to a budget of which {max(left, 0.0):.3g} s is left"
