"""Say in words and figures why `tcs-feel` did not select a client.

The client is put in the place of each selected one. Of the places that the budget allows, the one where F is lowest is
where the client came closest to being selected. The reason is the term of F that gets worst there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.costs import Budget, lack_of_budget
from tcsfeel.selection.objective import Objective, Terms
from tcsfeel.selection.search import GAIN

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Swap:
    """The sets in which each of N candidates has taken the place where it does best.

    Attributes:
        place: (N,) the place, 0..K - 1.
        loss: (4, N) by how much each weighted term of F gets worse; infinite if the budget allows no place.
        skew: (N,) the Balance of the set.
        slowest: (N,) the seconds of the slowest client of the set.
    """

    place: npt.NDArray[np.intp]
    loss: Floats
    skew: Floats
    slowest: Floats


def reasons(objective: Objective, budget: Budget, members: Sequence[int]) -> Callable[[int], str]:
    """Return a function that gives the reason why the candidate at a position is not among `members`."""
    pool, spent = objective.pool, budget.spent(members)
    sums = objective.sums(members)
    skew, slowest = float(objective.terms(sums).balance), float(sums.slowest)
    swap = _best_swap(objective, budget, members)
    total, term = swap.loss.sum(axis=0), swap.loss.argmax(axis=0)

    def reason(position: int) -> str:
        other = members[swap.place[position]]
        name = pool.candidates[other].client_id
        if total[position] == math.inf:
            return lack_of_budget(float(budget.costs[position]), budget.limit - spent)
        if total[position] <= GAIN:
            return f"as good as {name}, but {len(members)} clients are enough"
        match term[position]:
            case 0:
                return (
                    f"its labels are already covered: in place of {name} the set's label skew would be"
                    f" {swap.skew[position]:.3g} instead of {skew:.3g} (1: a random set)"
                )
            case 1:
                return (
                    f"its link is expensive: {pool.costs[position]:.3g} s of link time a round,"
                    f" against {pool.costs[other]:.3g} s for {name}"
                )
            case 2:
                return (
                    f"it is slow: in place of {name} the round would take {swap.slowest[position]:.3g} s"
                    f" instead of {slowest:.3g} s"
                )
            case _:
                return (
                    f"it is less overdue: its participation debt is {pool.debt[position]:z.2f},"
                    f" that of {name} {pool.debt[other]:z.2f}"
                )

    return reason


def _best_swap(objective: Objective, budget: Budget, members: Sequence[int]) -> _Swap:
    count = len(objective.pool.candidates)
    before = _losses(objective, objective.terms(objective.sums(members)))
    best = _Swap(np.zeros(count, np.intp), np.full((4, count), math.inf), np.zeros(count), np.zeros(count))
    least = np.full(count, math.inf)
    for place in range(len(members)):
        rest = [*members[:place], *members[place + 1 :]]
        sums = objective.with_each(rest)
        terms = objective.terms(sums)
        loss = _losses(objective, terms) - before[:, np.newaxis]
        total = np.where(budget.room(rest), loss.sum(axis=0), math.inf)
        closer = total < least
        least[closer] = total[closer]
        best.place[closer] = place
        best.loss[:, closer] = loss[:, closer]
        best.skew[closer] = terms.balance[closer]
        best.slowest[closer] = sums.slowest[closer]
    return best


def _losses(objective: Objective, terms: Terms) -> Floats:
    """Return the weighted terms of F (4, ...). For each of them, lower is better."""
    weighted = objective.weighted(terms)
    return np.stack([weighted.balance, weighted.communication, weighted.time, -weighted.debt])
