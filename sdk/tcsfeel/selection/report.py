"""Turn the set that a strategy chose into the selection that is shown: order, cost, fairness, reasons."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.costs import Budget, lack_of_budget
from tcsfeel.selection.fairness import jain_index
from tcsfeel.selection.links import SERVER
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.types import Chosen, Plan, Selection, Skipped

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
    reason: Callable[[int], str],
) -> Selection:
    """Describe a finished choice.

    Args:
        strategy: its name.
        pool: the N candidates.
        members: positions of the chosen ones.
        budget: that they respect.
        scores: (N,) higher is better; orders the chosen.
        components: what the scores are made of.
        reason: why a candidate was skipped although the budget had room for it.
    """
    order = sorted(members, key=lambda member: (-scores[member], member))
    tree = pool.links.tree(order)
    ids = pool.ids(order)
    chosen = frozenset(members)
    left = budget.limit - budget.spent(members)
    full = len(members) >= pool.policy.max_clients

    def why(position: int) -> str:
        cost = float(budget.costs[position])
        if cost > budget.limit or (cost > left and not full):
            return lack_of_budget(cost, left)
        return reason(position)

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
        skipped=tuple(
            Skipped(candidate.client_id, why(position))
            for position, candidate in enumerate(pool.candidates)
            if position not in chosen
        ),
        total_cost=math.fsum(tree.costs),
        label_divergence=pool.labels.pooled_divergence(members, pool.reliability * pool.samples),
        fairness=fairness(pool, members),
        expected_seconds=float(pool.seconds[list(members)].max()),
        plan=Plan(
            pool.policy.topology,
            {
                client_id: None if parent == SERVER else ids[parent]
                for client_id, parent in zip(ids, tree.parents, strict=True)
            },
        ),
    )


def fairness(pool: Pool, members: Sequence[int]) -> float:
    """Return Jain's index of how often each candidate was selected, counting `members` once more."""
    counts = Counter(client_id for chosen in pool.history.rounds for client_id in chosen)
    counts.update(pool.ids(members))
    return jain_index([counts[candidate.client_id] for candidate in pool.candidates])
