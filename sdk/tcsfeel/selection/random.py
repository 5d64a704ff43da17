"""Uniformly random clients: the baseline that every other strategy has to beat."""

from collections.abc import Sequence

import numpy as np

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.components import shown_components
from tcsfeel.selection.costs import Budget, fill
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.report import report
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy


def random(
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """Uniformly random clients: the baseline that every other strategy has to beat.

    As many as `max_clients` and the budget allow.
    The score of a client is its draw from 0..1. One that does not fit the budget is passed over, so under a tight
    budget cheap clients are more likely: the limit is hard, uniformity is not.
    """
    pool = Pool(tuple(candidates), connectivity, history, policy)
    budget = Budget.of(pool)
    draws = rng.random(len(candidates))
    members = fill(np.argsort(-draws).tolist(), [], budget, policy.max_clients)
    last = min(float(draws[member]) for member in members)
    return report(
        "random",
        pool,
        members,
        budget=budget,
        scores=draws,
        components=shown_components(pool),
        reason=lambda position: (
            f"it drew {draws[position]:.3f}, and the lowest of the {len(members)} chosen drew {last:.3f}"
        ),
    )
