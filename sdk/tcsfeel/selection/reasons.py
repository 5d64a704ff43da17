"""Say in words and figures why `tcs-feel` did not select a client.

The client is put in the place of each selected one. Of the places that the budget allows, the one where F is lowest is
where the client came closest to being selected. The reason is the term of F that gets worst there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.costs import Budget, lack_of_budget
from tcsfeel.selection.objective import Objective, Terms
from tcsfeel.selection.search import GAIN
from tcsfeel.selection.unselected import Phrase

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


def reasons(objective: Objective, budget: Budget, members: Sequence[int]) -> Phrase:
    """Return the reason why each candidate is not among `members`."""
    pool, sums = objective.pool, objective.sums(members)
    skew, slowest, spent = float(objective.terms(sums).balance), float(sums.slowest), budget.spent(members)
    swap = _best_swap(objective, budget, members)
    total, kind = swap.loss.sum(axis=0), swap.loss.argmax(axis=0)  # 0..3: the term that gets worst
    kind[total <= GAIN], kind[np.isinf(total)] = 4, 5
    numbers = np.stack([swap.skew, pool.costs, swap.slowest, pool.debt, budget.costs, budget.costs])
    of_set, instead = "the set's label skew", f"instead of {skew:.3g} (1: a random set)"
    texts = []
    for other in members:
        name = Phrase.quoted(pool.candidates[other].client_id)
        texts += [
            f"its labels are already covered: in place of {name} {of_set} would be {{:.3g}} {instead}",
            f"its link is expensive: {{:.3g}} s of link time a round, against {pool.costs[other]:.3g} s for {name}",
            f"it is slow: in place of {name} the round would take {{:.3g}} s instead of {slowest:.3g} s",
            f"it is less overdue: its participation debt is {{:z.2f}}, that of {name} {pool.debt[other]:z.2f}",
            f"as good as {name}, but {len(members)} clients are enough",
            lack_of_budget(budget.limit - spent),
        ]
    return Phrase.of(texts, numbers[kind, np.arange(len(kind))], len(numbers) * swap.place + kind)


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
        np.copyto(least, total, where=closer)
        best.place[closer] = place
        np.copyto(best.loss, loss, where=closer)
        np.copyto(best.skew, terms.balance, where=closer)
        np.copyto(best.slowest, sums.slowest, where=closer)
    return best


def _losses(objective: Objective, terms: Terms) -> Floats:
    """Return the weighted terms of F (4, ...). For each of them, lower is better."""
    weighted = objective.weighted(terms)
    return np.stack([weighted.balance, weighted.communication, weighted.time, -weighted.debt])
