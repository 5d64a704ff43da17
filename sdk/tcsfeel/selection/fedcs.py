"""FedCS: as many clients as possible before a deadline, those first that lengthen the round least.

Source: Nishio, Yonetani, "Client selection for federated learning with heterogeneous resources in mobile edge", 2019,
algorithm 3. A round is estimated to last as long as the slowest download of the set, and then, in the order in which
clients were added,

    end_i = max(end_(i-1), train_i) + upload_i

since clients train side by side, but their uploads share the server's link one after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.components import shown_components
from tcsfeel.selection.costs import Budget
from tcsfeel.selection.parameters import Parameter, tunable
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.report import report
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is known of a set's round.

    Attributes:
        slowest: s of its slowest download.
        end: s from there until its last upload is in.
    """

    slowest: float = 0.0
    end: float = 0.0

    @property
    def seconds(self) -> float:
        """Estimate how long the round will last."""
        return self.slowest + self.end


@dataclass(frozen=True, slots=True)
class Times:
    """Of N candidates, s: `transfer` (N,) of one model one way, `train` (N,) of one fit."""

    transfer: Floats
    train: Floats

    @classmethod
    def of(cls, pool: Pool) -> "Times":
        return cls(pool.costs / 2, pool.seconds - pool.costs)

    def extended(self, schedule: Schedule, member: int) -> Schedule:
        """Return the schedule with one more client at its end."""
        transfer, train = float(self.transfer[member]), float(self.train[member])
        return Schedule(max(schedule.slowest, transfer), max(schedule.end, train) + transfer)

    def with_each(self, schedule: Schedule) -> Floats:
        """Return (N,) the seconds that the round would last with each candidate added."""
        ends = np.maximum(schedule.end, self.train) + self.transfer
        return np.asarray(np.maximum(schedule.slowest, self.transfer) + ends)


@tunable(
    Parameter(
        name="pool_factor",
        default=2.0,
        minimum=1.0,
        maximum=1000.0,
        meaning="candidates that are drawn for each place",
    ),
    Parameter(
        name="deadline_seconds",
        default=180.0,
        minimum=0.0,
        maximum=1e9,
        meaning="how long the round may be estimated to last (s) with more than min_clients",
    ),
)
def fedcs(
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """As many of a random pool as fit a deadline, those first that lengthen the round least.

    The score of a client is minus the seconds that the round is estimated to last up to its upload.
    """
    pool = Pool(tuple(candidates), connectivity, history, policy)
    budget = Budget.of(pool)
    times = Times.of(pool)
    order = rng.permutation(len(candidates))
    count = round(policy.parameters["pool_factor"] * policy.max_clients)
    drawn = np.isin(np.arange(len(candidates)), order[:count])
    members = scheduled(pool, times, budget, order, drawn)
    schedules = list(accumulate(members, times.extended, initial=Schedule()))[1:]
    seconds = times.with_each(schedules[-1])
    scores = np.zeros(len(candidates))
    scores[members] = [-schedule.seconds for schedule in schedules]
    return report(
        "fedcs",
        pool,
        members,
        budget=budget,
        scores=scores,
        components=shown_components(pool),
        reason=lambda position: (
            f"with it the round would last {seconds[position]:.3g} s instead of {schedules[-1].seconds:.3g} s,"
            f" the deadline is {policy.parameters['deadline_seconds']:.6g} s"
            if drawn[position]
            else f"not among the {count} candidates that were drawn"
        ),
    )


def scheduled(
    pool: Pool, times: Times, budget: Budget, order: npt.NDArray[np.intp], drawn: npt.NDArray[np.bool_]
) -> list[int]:
    """Return the chosen clients in the order of their uploads.

    Args:
        pool: the N candidates.
        times: of the candidates.
        budget: of the round.
        order: (N,) of candidates that lengthen the round alike.
        drawn: (N,) who is in the random pool; others join only where the minimum cannot be reached without them.
    """
    deadline = pool.policy.parameters["deadline_seconds"]
    members: list[int] = []
    schedule = Schedule()
    while len(members) < pool.policy.max_clients:
        seconds, room = times.with_each(schedule), budget.room(members)
        fitting = room & drawn & (seconds <= deadline)
        if len(members) < budget.minimum and not fitting.any():
            fitting = room & drawn if (room & drawn).any() else room
        if not fitting.any():
            break
        member = int(order[np.argmin(np.where(fitting, seconds, np.inf)[order])])
        members.append(member)
        schedule = times.extended(schedule, member)
    return budget.settle(members)
