"""Compute what a round costs, and check it against the budget.

The budget is a hard limit: no set that is returned costs more, to the last bit. Where clients relay, what counts is the
star: what the round would cost if every relay failed. Sums are `math.fsum`, which rounds
once and so does not depend on the order; a budget that equals the printed cost of a set admits that set. While a set
is below its minimum size a client fits only if the cheapest ones still needed fit as well, so that choosing greedily
never ends in a dead end.
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

ROUNDING = 1e-12  # relative; vectorised sums may be off by this much, `allows` has the last word


@dataclass(frozen=True)
class Budget:
    """The costs of N candidates and the limit on their sum.

    Attributes:
        costs: (N,) s of link time, at least 0.
        limit: s, inf for none.
        minimum: how many clients have to be chosen.
    """

    costs: Floats
    limit: float
    minimum: int

    @classmethod
    def of(cls, pool: Pool) -> "Budget":
        """Make the budget of the pool's policy.

        Raises:
            NotEnoughClients: fewer candidates than the minimum.
            BudgetTooSmall: even the cheapest ones cost too much.
        """
        policy = pool.policy
        available, required = len(pool.candidates), max(policy.min_clients, 1)
        if available < required:
            known = available if policy.known_clients is None else policy.known_clients
            raise NotEnoughClients(available, required, known)
        limit = math.inf if policy.budget_constraint is None else policy.budget_constraint
        budget = cls(pool.costs, limit, required)
        cheapest = budget.cheapest()
        if not budget.allows(cheapest):
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
        """Return (N,) which candidates could join `members` and still leave enough for the rest of the minimum."""
        joinable = np.ones(len(self.costs), dtype=bool)
        joinable[list(members)] = False
        if self.limit == math.inf:
            return joinable
        others = self._by_cost[joinable[self._by_cost]]
        needed = max(self.minimum - len(members) - 1, 0)
        reserve = self.costs[others[:needed]].sum()
        total = self.spent(members) + reserve + self.costs
        # One that is itself among the cheapest needed leaves its place there to the next.
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
    """Let candidates join `members` in `order` up to `size`, passing over those that the budget has no room for."""
    filled = list(members)
    rank = np.asarray(order, dtype=np.intp)
    while len(filled) < size:
        fitting = rank[budget.room(filled)[rank]]
        if not len(fitting):
            break
        filled.append(int(fitting[0]))
    return budget.settle(filled)


def lack_of_budget(cost: float, left: float) -> str:
    """Say why a client is skipped that costs more than what is left of the budget."""
    return f"it would add {cost:.3g} s to a budget of which {max(left, 0.0):.3g} s is left"
