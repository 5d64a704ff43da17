"""Select by Oort: clients that promise much learning for their time, and some clients that were never tried.

Source: Lai, Zhu, Madhyastha, Chowdhury, "Oort: efficient federated learning via guided participant selection", 2021,
algorithm 1. The utility of a client that has reported a loss in this training is

    U = (min(n_i loss_i, clip) / clip + sqrt(0.1 ln R / L_i)) * (T / t_i)^2    with the last factor only if t_i > T

where n_i is the number of its samples, the clip is the 95th percentile of n loss over the tried clients, R is the
number of this round, L_i that of the last round that selected the client, t_i its expected seconds, and T the preferred
duration. Some places explore: they are drawn among the untried clients in proportion to 1 / t_i. The share of these
places is 0.9 in the first round and is multiplied by 0.98 after each round, down to 0.2. The other places are drawn in
proportion to U among the clients with at least 95 % of the utility that the last of these places needs.

There are two differences to the paper. Agents report the mean loss, which is used in place of the root mean square. And
T is a percentile of the candidates' durations, while the paper moves it with a pacer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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

EXPLORATION, DECAY, LEAST_EXPLORATION = 0.9, 0.98, 0.2
CLIP = 95  # percentile
CUT_OFF = 0.95  # share of the utility that the last place needs
STALENESS = 0.1
SLOWNESS = 2  # the exponent of T / t
LEAST_SECONDS = 1e-9  # shorter times count as this one
ROUNDING = 1e-9


@dataclass(frozen=True)
class Utilities:
    """The utilities of the candidates of a pool. Clients that were never tried have no utility."""

    pool: Pool

    @cached_property
    def tried(self) -> npt.NDArray[np.bool_]:
        """Tell for each client (N,) whether it has reported a loss in this training."""
        return np.array([candidate.loss is not None for candidate in self.pool.candidates])

    @cached_property
    def statistical(self) -> Floats:
        """Return samples times loss (N,), clipped and divided by the clip: 0..1. A loss below 0 counts as 0."""
        losses = np.array([max(candidate.loss or 0.0, 0.0) for candidate in self.pool.candidates])
        utility = self.pool.samples * losses
        clip = float(np.percentile(utility[self.tried], CLIP)) if self.tried.any() else 0.0
        return np.minimum(utility, clip) / clip if clip > 0 else np.zeros(len(utility))

    @cached_property
    def staleness(self) -> Floats:
        """Return the bonus (N,) of clients that were not selected for long; 0 for clients that were never tried."""
        history = self.pool.history
        last = {client_id: number for number, chosen in enumerate(history.rounds, 1) for client_id in chosen}
        since = np.array([last.get(client_id, 1) for client_id in self.pool.ids()])
        return np.where(self.tried, np.sqrt(STALENESS * math.log(history.round_number) / since), 0.0)

    @cached_property
    def speed(self) -> Floats:
        """Return the factor (N,) that lowers the utility of slow clients; 1 for clients that are fast enough."""
        seconds = np.maximum(self.pool.seconds, LEAST_SECONDS)
        preferred = np.percentile(seconds, self.pool.policy.parameters["preferred_percentile"])
        return np.asarray(np.minimum(preferred / seconds, 1.0) ** SLOWNESS)

    @cached_property
    def total(self) -> Floats:
        """Return the utility U of each client (N,)."""
        return (self.statistical + self.staleness) * self.speed


@tunable(
    Parameter(
        name="preferred_percentile",
        default=50.0,
        minimum=0.0,
        maximum=100.0,
        meaning="percentile of the candidates' expected durations beyond which a client counts less; 100: none does",
    )
)
def oort(
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """Select clients that promise much learning for their time, and clients that were never tried.

    The score of a client is its utility. Clients that were never tried have none, and come last.
    """
    pool = Pool.of(candidates, connectivity, history, policy)
    budget = Budget.of(pool)
    utilities = Utilities(pool)
    slots = min(policy.max_clients, len(candidates))
    untried = np.flatnonzero(~utilities.tried)
    explored = min(math.ceil(slots * exploration(history.round_number) - ROUNDING), len(untried))
    admitted, others = by_cut_off(utilities, slots - explored)
    best = [*_drawn(admitted, utilities.total, rng), *others.tolist()]
    exploited = fill(best, [], budget, slots - explored)
    unknown = _drawn(untried, 1 / np.maximum(pool.seconds, LEAST_SECONDS), rng)
    members = fill([*unknown, *best], exploited, budget, slots)
    cut_off = utilities.total[admitted].min(initial=np.inf)

    tried = 1 if not len(admitted) else np.where(utilities.total < cut_off, 2, 3)
    parts = {"utility": utilities.statistical, "staleness": utilities.staleness, "speed": utilities.speed}
    return report(
        "oort",
        pool,
        members,
        budget=budget,
        scores=utilities.total,
        components=shown_components(pool) | parts,
        reason=Phrase.of(
            (
                f"it was not tried before, and was not drawn for the {explored} of {slots} places that explore",
                f"all {slots} places explore clients that were not tried before",
                f"its utility is {{:.3g}}, and the lowest that could be drawn was {cut_off:.3g}",
                "its utility of {:.3g} was high enough, but other clients were drawn",
            ),
            utilities.total,
            np.where(utilities.tried, tried, 0),
        ),
    )


def exploration(round_number: int) -> float:
    """Return the share of the places that explore in a round. The first round has the number 1."""
    return max(LEAST_EXPLORATION, EXPLORATION * DECAY ** (round_number - 1))


def by_cut_off(utilities: Utilities, places: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the tried candidates that may be drawn for so many places, and the others, best first."""
    tried = np.flatnonzero(utilities.tried)
    ranked = tried[np.argsort(-utilities.total[tried], kind="stable")]
    if not len(ranked) or places == 0:
        return ranked[:0], ranked
    last = utilities.total[ranked[min(places, len(ranked)) - 1]]
    admitted = int((utilities.total[ranked] >= CUT_OFF * last).sum())
    return ranked[:admitted], ranked[admitted:]


def _drawn(positions: npt.NDArray[np.intp], weights: Floats, rng: np.random.Generator) -> list[int]:
    """Return candidates in random order, each of them drawn in proportion to its entry of `weights` (N,)."""
    return [int(positions[place]) for place in weighted_order(weights[positions], rng)]
