"""Oort: clients that promise much learning for their time, and untried ones, fewer as the training goes on.

Source: Lai, Zhu, Madhyastha, Chowdhury, "Oort: efficient federated learning via guided participant selection", 2021,
algorithm 1. Of a client that has reported a loss in this training the utility is

    U = (min(n_i loss_i, clip) / clip + sqrt(0.1 ln R / L_i)) * (T / t_i)^2    the last factor where t_i > T only

with its samples n_i, the 95th percentile of n loss over the tried clients as the clip, the number R of this round and
L_i of the last that it was selected for, its expected seconds t_i, and the preferred duration T. The exploited places
are drawn in proportion to U among the clients with at least 95 % of the utility that the last place needs; the explored
ones among the untried, in proportion to 1 / t_i. A share of 0.9 of the places explores in the first round, 0.98 times
as many in each one after it, and never fewer than 0.2.

Agents report the mean loss, which stands for the root mean square of the paper; T is a percentile of the candidates'
durations, without the pacer that moves it there.
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

Floats = npt.NDArray[np.float64]

EXPLORATION, DECAY, LEAST_EXPLORATION = 0.9, 0.98, 0.2
CLIP = 95  # percentile
CUT_OFF = 0.95  # of the utility of the last exploited place
STALENESS = 0.1
SLOWNESS = 2  # the exponent of T / t
LEAST_SECONDS = 1e-9  # nobody is faster
ROUNDING = 1e-9


@dataclass(frozen=True)
class Utilities:
    """What the candidates of a pool promise. Untried ones have no utility."""

    pool: Pool

    @cached_property
    def tried(self) -> npt.NDArray[np.bool_]:
        """Return (N,) which clients have reported a loss in this training."""
        return np.array([candidate.loss is not None for candidate in self.pool.candidates])

    @cached_property
    def statistical(self) -> Floats:
        """Return (N,) samples times loss, clipped, relative to the clip: 0..1. A loss below 0 counts as 0."""
        losses = np.array([max(candidate.loss or 0.0, 0.0) for candidate in self.pool.candidates])
        utility = self.pool.samples * losses
        clip = float(np.percentile(utility[self.tried], CLIP)) if self.tried.any() else 0.0
        return np.minimum(utility, clip) / clip if clip > 0 else np.zeros(len(utility))

    @cached_property
    def staleness(self) -> Floats:
        """Return (N,) the bonus of clients that were not selected for long; 0 for clients that were never tried."""
        history = self.pool.history
        last = {client_id: number for number, chosen in enumerate(history.rounds, 1) for client_id in chosen}
        since = np.array([last.get(client_id, 1) for client_id in self.pool.ids()])
        return np.where(self.tried, np.sqrt(STALENESS * math.log(history.round_number) / since), 0.0)

    @cached_property
    def speed(self) -> Floats:
        """Return (N,) the penalty factor of clients that are slower than preferred; 1 for others."""
        seconds = np.maximum(self.pool.seconds, LEAST_SECONDS)
        preferred = np.percentile(seconds, self.pool.policy.parameters["preferred_percentile"])
        return np.asarray(np.minimum(preferred / seconds, 1.0) ** SLOWNESS)

    @cached_property
    def total(self) -> Floats:
        """Return (N,) the utility U."""
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
    """Clients whose loss and samples promise much learning for their time, and untried ones to get to know.

    The score of a client is its utility; an untried one has none, and comes last.
    """
    pool = Pool(tuple(candidates), connectivity, history, policy)
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

    def reason(position: int) -> str:
        if not utilities.tried[position]:
            return f"it was not tried before, and was not drawn for the {explored} of {slots} places that explore"
        if not len(admitted):
            return f"all {slots} places explore clients that were not tried before"
        utility = float(utilities.total[position])
        if utility < cut_off:
            return f"its utility is {utility:.3g}, and the lowest that could be drawn was {cut_off:.3g}"
        return f"its utility of {utility:.3g} was high enough, but other clients were drawn"

    parts = {"utility": utilities.statistical, "staleness": utilities.staleness, "speed": utilities.speed}
    return report(
        "oort",
        pool,
        members,
        budget=budget,
        scores=utilities.total,
        components=shown_components(pool) | parts,
        reason=reason,
    )


def exploration(round_number: int) -> float:
    """Return the share of the places that explores in a round; rounds count from 1."""
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
    """Return candidates in random order, where each next one is drawn in proportion to `weights` (N,)."""
    return [int(positions[place]) for place in weighted_order(weights[positions], rng)]
