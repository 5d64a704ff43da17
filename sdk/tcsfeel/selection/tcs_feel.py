"""Select the set with the lowest objective (`objective`). This is the default strategy.

The set begins with `min_clients` clients. It grows until the labels that are expected to arrive diverge from the global
ones by at most `divergence_target`, until it has `max_clients` clients, or until the budget has no room for another
client. If no client reports labels, it does not grow.

The score of a selected client is minus its share of F(S), so the scores of a selection add up to -F(S). The reason of a
skipped client is what would get worst if it took the place of the selected client where it does best.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.components import shown_components
from tcsfeel.selection.costs import Budget
from tcsfeel.selection.objective import Objective
from tcsfeel.selection.parameters import Parameter, tunable
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.reasons import reasons
from tcsfeel.selection.report import report
from tcsfeel.selection.search import best_set, grown
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy

Floats = npt.NDArray[np.float64]


@tunable(
    Parameter(
        name="divergence_target",
        default=0.02,
        minimum=0.0,
        maximum=100.0,
        meaning="KL divergence (nats) of the pooled labels from the global ones at which no further client is added",
    )
)
def tcs_feel(
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """Select the set that is best as a whole, by pooled labels, cost of links, slowest member and participation debt.

    The components are those of the documented score, and each client's shares of the terms of F: `balance`,
    `communication` and `time` (lower is better), and `debt` (higher is better).
    """
    pool = Pool.of(candidates, connectivity, history, policy)
    budget = Budget.of(pool)
    objective = Objective(pool)
    members = choose(objective, budget, rng)
    shares = objective.shares(members)
    weighted = objective.weighted(shares)
    shown = {
        "balance": shares.balance,
        "communication": shares.communication,
        "time": shares.time,
        "debt": shares.debt,
    }
    count = len(candidates)
    return report(
        "tcs-feel",
        pool,
        members,
        budget=budget,
        scores=_spread(weighted.debt - weighted.balance - weighted.communication - weighted.time, members, count),
        components=shown_components(pool) | {name: _spread(values, members, count) for name, values in shown.items()},
        reason=reasons(objective, budget, members),
    )


def choose(objective: Objective, budget: Budget, rng: np.random.Generator) -> list[int]:
    """Return the positions of the selected candidates."""
    policy = objective.pool.policy
    members = best_set(objective, budget, budget.minimum, rng)
    while len(members) < policy.max_clients and not balanced(objective, members):
        larger = grown(objective, budget, members, rng)
        if larger is None:
            break
        members = larger
    return members


def balanced(objective: Objective, members: Sequence[int]) -> bool:
    """Tell whether the labels that `members` are expected to deliver are close enough to the global ones."""
    pool = objective.pool
    divergence = pool.labels.pooled_divergence(members, objective.singles.samples)
    return divergence is None or divergence <= pool.policy.parameters["divergence_target"]


def _spread(values: Floats, members: Sequence[int], count: int) -> Floats:
    """Return an array (N,) with the values (K,) of `members` at their positions, and 0 elsewhere."""
    spread = np.zeros(count)
    spread[list(members)] = values
    return spread
