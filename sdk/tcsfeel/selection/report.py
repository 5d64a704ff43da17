"""Turn the set that a strategy selected into a `Selection`, with its order, cost, fairness and reasons."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.costs import Budget, lack_of_budget
from tcsfeel.selection.fairness import evenness
from tcsfeel.selection.links import SERVER
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.types import Chosen, Plan, Selection
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
        reason: why each candidate was skipped although it fits in the budget, or a function that says it.
    """
    order = sorted(members, key=lambda member: (-scores[member], member))
    tree = pool.links.tree(order)
    ids = pool.ids(order)
    left = budget.limit - budget.spent(members)
    if not isinstance(reason, Phrase):
        places = range(len(scores))
        texts = ["" if place in members else Phrase.quoted(reason(place)) for place in places]
        reason = Phrase(tuple(texts), np.zeros(len(texts), np.float32), np.array(places))
    dear = budget.costs > (budget.limit if len(members) >= pool.policy.max_clients else left)
    if dear.any():
        reason = Phrase.of(
            (*reason.texts, lack_of_budget(left)),
            np.where(dear, budget.costs, reason.numbers),
            np.where(dear, len(reason.texts), 0 if reason.which is None else reason.which),
        )
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
        skipped=Unselected(pool.ids(), reason, tuple(sorted(order))),
        total_cost=math.fsum(tree.costs),
        label_divergence=pool.labels.pooled_divergence(members, pool.reliability * pool.samples),
        fairness=evenness(pool.table.places, pool.history, ids),
        expected_seconds=float(pool.seconds[list(members)].max()),
        plan=Plan(
            pool.policy.topology,
            {
                client_id: None if parent == SERVER else ids[parent]
                for client_id, parent in zip(ids, tree.parents, strict=True)
            },
        ),
    )
