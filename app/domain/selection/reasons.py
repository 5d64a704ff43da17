"""Why `tcs-feel` did not choose a client, in words and figures.

The client is put in the place of each chosen one; of the places that the budget allows, the one that suits it best is
where it came closest to being chosen. The term of F that gets worst there is the reason.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from app.domain.selection.costs import Budget, lack_of_budget
from app.domain.selection.objective import Objective, Terms
from app.domain.selection.search import GAIN

Floats = npt.NDArray[np.float64]


def reasons(objective: Objective, budget: Budget, members: Sequence[int]) -> Callable[[int], str]:
    """The reason of any candidate outside `members`, by its position."""
    candidates, spent = objective.pool.candidates, budget.spent(members)
    before = _losses(objective, objective.terms(objective.sums(members)))
    losses = []
    for place in range(len(members)):
        rest = [*members[:place], *members[place + 1 :]]
        swapped = objective.terms(objective.with_each(rest))
        loss = _losses(objective, swapped) - before[:, np.newaxis]
        losses.append(np.where(budget.room(rest), loss, math.inf))
    worse = np.stack(losses)  # (K, 4, N)
    nearest = worse.sum(axis=1).argmin(axis=0)

    def reason(position: int) -> str:
        place = int(nearest[position])
        loss = worse[place, :, position]
        if loss.sum() == math.inf:
            return lack_of_budget(float(budget.costs[position]), budget.limit - spent)
        if loss.sum() <= GAIN:
            return f"as good as {candidates[members[place]].client_id}, but {len(members)} clients are enough"
        return _sentence(objective, members, place, position, int(loss.argmax()))

    return reason


def _losses(objective: Objective, terms: Terms) -> Floats:
    """(4, ...) the weighted terms of F, each of which is better when lower."""
    weighted = objective.weighted(terms)
    return np.stack([weighted.balance, weighted.communication, weighted.time, -weighted.debt])


def _sentence(objective: Objective, members: Sequence[int], place: int, position: int, term: int) -> str:
    pool, other = objective.pool, members[place]
    name = pool.candidates[other].client_id
    after = [*members[:place], position, *members[place + 1 :]]
    match term:
        case 0:
            skew, swapped = (float(objective.balance(objective.sums(chosen))) for chosen in (members, after))
            return (
                f"its labels are already covered: in place of {name} the set's label skew would be {swapped:.3g}"
                f" instead of {skew:.3g} (1: a random set)"
            )
        case 1:
            return (
                f"its link is dear: {pool.costs[position]:.3g} s of link time a round,"
                f" against {pool.costs[other]:.3g} s for {name}"
            )
        case 2:
            slowest, swapped = (float(objective.sums(chosen).slowest) for chosen in (members, after))
            return f"it is slow: in place of {name} the round would take {swapped:.3g} s instead of {slowest:.3g} s"
        case _:
            return (
                f"it is less overdue: its participation debt is {pool.debt[position]:z.2f},"
                f" that of {name} {pool.debt[other]:z.2f}"
            )
