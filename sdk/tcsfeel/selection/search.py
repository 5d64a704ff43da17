"""Find a set that minimises F within the budget: a few starts, then one-swaps on exact F.

Minimising a quadratic form over sets of a size is NP-hard, so this is local search: greedy insertion and two random
starts weighted by participation debt, then passes that replace one member after the other by the best candidate, while
that helps: `with_each` shows the best, and F itself decides. Where the sets can be counted on one's fingers all of them
are tried. A pass over K members costs O(K N C).
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.costs import ROUNDING, Budget, fill
from tcsfeel.selection.objective import Objective

Floats = npt.NDArray[np.float64]

PASSES = 4
RANDOM_STARTS = 2
EVEN_CHANCE = 0.1  # of debt, on top of everyone's: a start may hold clients that are owed nothing
GAIN = 1e-9  # a swap that gains less gains rounding
LEAST_WEIGHT = 1e-300  # of a draw: what is divided by it stays finite
AT_ONCE = 1 << 22  # values of skews that are summed at once: 32 MiB
FEW = 20_000  # positions in all sets together: where there are no more, every set is tried


def best_set(objective: Objective, budget: Budget, size: int, rng: np.random.Generator) -> list[int]:
    """Return the best set of `size` clients that is found; `size` is the budget's minimum, so there is one."""
    if _few(objective, size):
        return _best_of_all(objective, budget, size)
    starts = [greedy(objective, budget, size, rng)]
    starts += [overdue(objective, budget, size, rng) for _ in range(RANDOM_STARTS)]
    return min((improved(objective, budget, start) for start in starts), key=lambda members: _value(objective, members))


def grown(objective: Objective, budget: Budget, members: list[int], rng: np.random.Generator) -> list[int] | None:
    """Return a good set with one more client; None if the budget has no room for one."""
    larger = extended(objective, budget, members, rng)
    if larger is None:
        return None
    if _few(objective, len(larger)):
        return _best_of_all(objective, budget, len(larger))
    return improved(objective, budget, larger)


def greedy(objective: Objective, budget: Budget, size: int, rng: np.random.Generator) -> list[int]:
    """A set of `size` clients, each of them the best beside those before it; the cheapest where that is a dead end."""
    members: list[int] = []
    while len(members) < size:
        larger = extended(objective, budget, members, rng)
        members = budget.cheapest() if larger is None else larger
    return members


def overdue(objective: Objective, budget: Budget, size: int, rng: np.random.Generator) -> list[int]:
    """Draw a random set of `size` clients, in which overdue clients are more likely."""
    debt = objective.pool.debt
    return fill(weighted_order(debt - debt.min() + EVEN_CHANCE, rng), [], budget, size)


def extended(objective: Objective, budget: Budget, members: list[int], rng: np.random.Generator) -> list[int] | None:
    """`members` and the candidate with which F is lowest, ties broken at random; None when there is room for none."""
    room = budget.room(members)
    if not room.any():
        return None
    values = objective.value(objective.with_each(members)) + GAIN * rng.random(len(room))
    values[~room] = math.inf
    larger = [*members, int(np.argmin(values))]
    return larger if budget.allows(larger) else None


def improved(objective: Objective, budget: Budget, members: Sequence[int]) -> list[int]:
    """Improve `members` by at most `PASSES` passes of one-swaps, each the best for its place."""
    current, value = list(members), _value(objective, members)
    for _ in range(PASSES):
        before = value
        for place in range(len(current)):
            rest = current[:place] + current[place + 1 :]
            values = objective.value(objective.with_each(rest))
            values[~budget.room(rest)] = math.inf
            best = int(np.argmin(values))
            swapped = [*rest[:place], best, *rest[place:]]
            if values[best] < value - GAIN and budget.allows(swapped):
                exact = _value(objective, swapped)
                if exact < value - GAIN:
                    current, value = swapped, exact
        if value == before:
            break
    return current


def weighted_order(weights: Floats, rng: np.random.Generator) -> list[int]:
    """Return all N candidates in random order, each next one drawn in proportion to `weights` (N,), at least 0.

    Source: Efraimidis, Spirakis, "Weighted random sampling with a reservoir", 2006; an exponential clock per candidate.
    """
    clocks = rng.exponential(size=len(weights)) / np.maximum(weights, LEAST_WEIGHT)
    return [int(position) for position in np.argsort(clocks)]


def _few(objective: Objective, size: int) -> bool:
    """Tell whether every set of a size is to be tried."""
    return math.comb(len(objective.pool.candidates), size) * size <= FEW


def _best_of_all(objective: Objective, budget: Budget, size: int) -> list[int]:
    sets = np.array(list(combinations(range(len(objective.pool.candidates)), size)), dtype=np.intp)
    affordable = budget.costs[sets].sum(axis=1) <= budget.limit * (1 + ROUNDING)
    at_once = max(1, AT_ONCE // (size * max(1, objective.pool.skew.shape[1])))
    parts = [sets[start : start + at_once] for start in range(0, len(sets), at_once)]
    values = np.concatenate([objective.value(objective.sums(part)) for part in parts])
    values = np.where(affordable, values, math.inf)
    return budget.settle([int(member) for member in sets[np.argmin(values)]])


def _value(objective: Objective, members: Sequence[int]) -> float:
    """Return F of one set."""
    return float(objective.value(objective.sums(members)))
