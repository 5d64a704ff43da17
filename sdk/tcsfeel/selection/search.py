"""Find a set within the budget with a low F, by local search from a few starts.

The problem is NP-hard, so this is a local search. It starts from a greedy set and from two random sets in which overdue
clients are more likely. Then passes replace one member after the other by the best candidate, as long as this lowers F:
`with_each` finds the candidate, and the exact F decides. If there are few possible sets, all of them are tried. A pass
over K members costs O(K N C).
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.costs import ROUNDING, Budget, fill, in_order
from tcsfeel.selection.objective import Objective

Floats = npt.NDArray[np.float64]

PASSES = 4
RANDOM_STARTS = 2
EVEN_CHANCE = 0.1  # added to each debt, so that a random start may also have clients that are not overdue
GAIN = 1e-9  # a smaller gain is a rounding error
LEAST_WEIGHT = 1e-300  # in a draw; quotients stay finite with it
AT_ONCE = 1 << 22  # values of skews that are summed at one time, which are 32 MiB
FEW = 20_000  # positions in all sets together, up to which every set is tried


def best_set(objective: Objective, budget: Budget, size: int, rng: np.random.Generator) -> list[int]:
    """Return the best set of `size` clients that is found. Such a set exists, as `size` is the budget's minimum."""
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
    """Build a set of `size` clients by adding the best one each time. If that fails, return the cheapest set."""
    members: list[int] = []
    while len(members) < size:
        larger = extended(objective, budget, members, rng)
        members = budget.cheapest() if larger is None else larger
    return members


def overdue(objective: Objective, budget: Budget, size: int, rng: np.random.Generator) -> list[int]:
    """Draw a random set of `size` clients, in which overdue clients are more likely."""
    debt = objective.pool.debt
    return fill(in_order(clocks(debt - debt.min() + EVEN_CHANCE, rng), budget, size), [], budget, size)


def extended(objective: Objective, budget: Budget, members: list[int], rng: np.random.Generator) -> list[int] | None:
    """Add the candidate with which F is lowest, at random among equal ones. Returns None if the budget has no room."""
    room = budget.room(members)
    if not room.any():
        return None
    values = objective.value(objective.with_each(members)) + GAIN * rng.random(len(room))
    values[~room] = math.inf
    larger = [*members, int(np.argmin(values))]
    return larger if budget.allows(larger) else None


def improved(objective: Objective, budget: Budget, members: Sequence[int]) -> list[int]:
    """Improve `members` by at most `PASSES` passes, which replace each member by the best candidate for its place."""
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
    """Return all N candidates in random order, each of them drawn in proportion to `weights` (N,), at least 0."""
    order: list[int] = np.argsort(clocks(weights, rng)).tolist()
    return order


def clocks(weights: Floats, rng: np.random.Generator) -> Floats:
    """Return an exponentially distributed random time for each candidate; the first ones are drawn.

    Source: Efraimidis, Spirakis, "Weighted random sampling with a reservoir", 2006.
    """
    return np.asarray(rng.exponential(size=len(weights)) / np.maximum(weights, LEAST_WEIGHT))


def _few(objective: Objective, size: int) -> bool:
    """Tell whether there are so few sets of a size that all of them are tried."""
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
