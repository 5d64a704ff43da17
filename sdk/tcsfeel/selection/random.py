"""Select clients at random: the baseline that every other strategy has to beat."""

from collections.abc import Sequence

import numpy as np

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.components import shown_components
from tcsfeel.selection.costs import Budget, fill, in_order
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.report import report
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy
from tcsfeel.selection.unselected import Phrase


def random(
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """Select clients uniformly at random: the baseline that every other strategy has to beat.

    It selects as many as `max_clients` and the budget allow. The score of a client is its random number in 0..1. A
    client that does not fit in the budget is left out, so with a tight budget clients with cheap links are more likely.
    """
    pool = Pool.of(candidates, connectivity, history, policy)
    budget = Budget.of(pool)
    draws = rng.random(len(candidates))
    members = fill(in_order(-draws, budget, policy.max_clients), [], budget, policy.max_clients)
    last = min(float(draws[member]) for member in members)
    return report(
        "random",
        pool,
        members,
        budget=budget,
        scores=draws,
        components=shown_components(pool),
        reason=Phrase(
            (f"it drew {{:.3f}}, and the lowest of the {len(members)} chosen drew {last:.3f}",),
            draws.round(3).astype(np.float16),  # which keeps three digits of numbers below 1
        ),
    )
