"""Select by FedCS: as many clients as finish before a deadline, beginning with those that lengthen the round least.

Source: Nishio, Yonetani, "Client selection for federated learning with heterogeneous resources in mobile edge", 2019,
algorithm 3. The estimated duration of a round is that of the slowest download of the set, plus the end of the last
upload, where the clients upload in the order in which they were added:

    end_i = max(end_(i-1), train_i) + upload_i

Clients train at the same time, but their uploads use the server's link one after another.
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
from tcsfeel.selection.unselected import Phrase

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The estimated times of a round with some clients, in seconds.

    Attributes:
        slowest: the duration of the slowest download.
        end: the time from there until the last upload has arrived.
    """

    slowest: float = 0.0
    end: float = 0.0

    @property
    def seconds(self) -> float:
        """Return the estimated duration of the round in seconds."""
        return self.slowest + self.end


@dataclass(frozen=True, slots=True)
class Times:
    """The times of N candidates in seconds: `transfer` (N,) for one model one way, `train` (N,) for one fit."""

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
        """Return for each candidate (N,) how many seconds the round would last if it was added."""
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
    """Select as many clients of a random pool as fit in a deadline, first those that lengthen the round least.

    The score of a client is minus the estimated seconds from the begin of the round to the end of its upload.
    """
    pool = Pool.of(candidates, connectivity, history, policy)
    budget = Budget.of(pool)
    times = Times.of(pool)
    order = rng.permutation(len(candidates))
    count = round(policy.parameters["pool_factor"] * policy.max_clients)
    drawn = np.isin(np.arange(len(candidates)), order[:count])
    members = scheduled(pool, times, budget, order, drawn)
    schedules = list(accumulate(members, times.extended, initial=Schedule()))[1:]
    seconds = times.with_each(schedules[-1])
    limit = f"the deadline is {policy.parameters['deadline_seconds']:.6g} s"
    scores = np.zeros(len(candidates))
    scores[members] = [-schedule.seconds for schedule in schedules]
    return report(
        "fedcs",
        pool,
        members,
        budget=budget,
        scores=scores,
        components=shown_components(pool),
        reason=Phrase.of(
            (
                f"not among the {count} candidates that were drawn",
                f"with it the round would last {{:.3g}} s instead of {schedules[-1].seconds:.3g} s, {limit}",
            ),
            seconds,
            drawn,
        ),
    )


def scheduled(
    pool: Pool, times: Times, budget: Budget, order: npt.NDArray[np.intp], drawn: npt.NDArray[np.bool_]
) -> list[int]:
    """Return the positions of the selected clients in the order of their uploads.

    Args:
        pool: the N candidates.
        times: the times of the candidates.
        budget: the budget of the round.
        order: (N,) the order among candidates that lengthen the round equally.
        drawn: (N,) whether a candidate is in the random pool. Others are added only if the minimum cannot be reached
            without them.
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
