"""Select by power of choice: of more candidates than are needed, those whose data the model fits worst.

Source: Cho, Wang, Joshi, "Client selection in federated learning: convergence analysis and power-of-choice selection
strategies", 2020. This is the variant that needs no extra communication: d candidates are drawn in proportion to their
samples, and the K with the highest loss are selected. A client's loss is the one that it reported when it took part
last. A client that has not reported a loss yet counts as the worst, so it is tried before the others.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.components import shown_components
from tcsfeel.selection.costs import Budget, fill
from tcsfeel.selection.parameters import Parameter, tunable
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.report import report
from tcsfeel.selection.search import weighted_order
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy
from tcsfeel.selection.unselected import Phrase

Floats = npt.NDArray[np.float64]


@tunable(
    Parameter(
        name="factor",
        default=2.0,
        minimum=1.0,
        maximum=1000.0,
        meaning="candidates that are drawn for each place; 1: clients are drawn in proportion to their samples",
    )
)
def power_of_choice(
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """Select those that reported the highest loss, of candidates that are drawn in proportion to their samples.

    The score of a client is its loss. A client that has not reported a loss yet has the highest score. If none of the
    drawn candidates fits in the rest of the budget, the places go to others in the order of the draw.
    """
    pool = Pool.of(candidates, connectivity, history, policy)
    budget = Budget.of(pool)
    slots = min(policy.max_clients, len(candidates))
    order = weighted_order(pool.samples, rng)
    drawn = order[: round(policy.parameters["factor"] * slots)]
    losses = last_losses(candidates)
    ranked = [*sorted(drawn, key=lambda member: -losses[member]), *order[len(drawn) :]]
    members = fill(ranked, [], budget, slots)
    known = losses[np.isfinite(losses)]
    scores = np.minimum(losses, known.max(initial=0.0))
    lowest = min(float(losses[member]) for member in members)
    least = "have not reported a loss yet" if lowest == np.inf else f"reported at least {lowest:.4g}"
    which = np.zeros(len(losses), np.intp)
    which[drawn] = 1 + np.isinf(losses[drawn])
    return report(
        "power-of-choice",
        pool,
        members,
        budget=budget,
        scores=scores,
        components=shown_components(pool) | {"loss": scores},
        reason=Phrase.of(
            (
                f"not among the {len(drawn)} candidates that were drawn",
                f"its last loss is {{:.4g}}, the {len(members)} chosen {least}",
                f"it has no loss yet, like the {len(members)} chosen, who were drawn before it",
            ),
            losses,
            which,
        ),
    )


def last_losses(candidates: Sequence[Candidate]) -> Floats:
    """Return the loss (N,) that each client reported last in this training; infinity if it has not reported any."""
    return np.array([np.inf if candidate.loss is None else candidate.loss for candidate in candidates])
