"""Turn the set that a strategy selected into a `Selection`, with its order, cost, fairness and reasons."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.costs import Budget, lack_of_budget
from tcsfeel.selection.fairness import evenness
from tcsfeel.selection.links import SERVER
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.types import Chosen, Plan, Selection, Skipped
from tcsfeel.selection.unselected import Phrase, Unselected

Floats = npt.NDArray[np.float64]
Components = Mapping[str, Floats]  # each (N,)


def report(
    strategy: str,
    pool: Pool,
    members: Sequence[int],
    *,
    budget: Budget,
    scores: Floats,
    components: Components,
    reason: Callable[[int], str] | Phrase,
) -> Selection:
    """Make the selection of a set of clients.

    Args:
        strategy: the strategy's name.
        pool: the N candidates.
        members: the positions of the selected clients.
        budget: the budget, which the set does not exceed.
        scores: (N,) the scores of the candidates, which order the selected ones; higher is better.
        components: the parts of the scores.
        reason: returns why a candidate was skipped although it fits in the budget. A `Phrase` is written when it is
            read.
    """
    order = sorted(members, key=lambda member: (-scores[member], member))
    tree = pool.links.tree(order)
    ids = pool.ids(order)
    left = budget.limit - budget.spent(members)
    full = len(members) >= pool.policy.max_clients

    def why(position: int) -> str:
        cost = float(budget.costs[position])
        if cost > budget.limit or (cost > left and not full):
            return lack_of_budget(cost, left)
        return reason(position)

    unselected = np.ones(len(pool.candidates), np.bool_)
    unselected[order] = False
    others = np.flatnonzero(unselected).tolist()
    affordable = budget.limit == math.inf or bool(budget.costs.max() <= (budget.limit if full else left))
    skipped: Sequence[Skipped]
    if isinstance(reason, Phrase) and affordable:
        skipped = Unselected(pool.ids(others), Phrase(reason.text, reason.numbers[unselected]))
    else:
        skipped = tuple(Skipped(pool.candidates[position].client_id, why(position)) for position in others)
    return Selection(
        strategy=strategy,
        selected=tuple(
            Chosen(
                pool.candidates[member].client_id,
                float(scores[member]),
                {name: float(values[member]) for name, values in components.items()},
                float(cost),
            )
            for member, cost in zip(order, tree.costs, strict=True)
        ),
        skipped=skipped,
        total_cost=math.fsum(tree.costs),
        label_divergence=pool.labels.pooled_divergence(members, pool.reliability * pool.samples),
        fairness=evenness(pool.ids(), pool.history, ids),
        expected_seconds=float(pool.seconds[list(members)].max()),
        plan=Plan(
            pool.policy.topology,
            {
                client_id: None if parent == SERVER else ids[parent]
                for client_id, parent in zip(ids, tree.parents, strict=True)
            },
        ),
    )
