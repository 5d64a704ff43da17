"""Define the values that every selection strategy gets and returns.

A strategy is a function ``(candidates, connectivity, history, policy, rng) -> Selection``. It does no I/O, reads no
clock, and draws random numbers only from `rng`, so that the same seed and state give the same selection.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.transfers import BYTES_PER_MB, Topology

DataDistribution = Sequence[float] | Mapping[str, float]
BITS_PER_BYTE = 8
LARGEST_MULTIPLE = 2.0  # of its fair share of the places that a client gets by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A client that may be selected.

    Where the server has measured a value, the measurement has already replaced what the client claims.

    Attributes:
        client_id: the client's id, unique among the candidates.
        data_size: the number of training samples, at least 1.
        data_distribution: how many samples have each label, as counts or shares, 0 or more: a sequence has them by the
            number of the label, a mapping by its name. None if the client does not report labels.
        compute_capacity: the speed of the device in GFLOPS, above 0.
        bandwidth: the bandwidth to the server in Mbps, above 0.
        latency: the latency to the server in ms, 0 or more.
        reliability: the probability that the client finishes a task, from 0 to 1.
        server_cost: seconds per MB over the link to the server, 0 or more, if the client states it. With None it is
            8 / `bandwidth`.
        train_seconds: the measured mean duration of one fit in seconds; None before the first.
        update_quality: the mean quality of the client's updates, from 0 to 1; None before the first.
        loss: the mean training loss that the client reported last in this training; None before the first.
        sketch: what the client's updates in this training say about its labels (see `sketches`); None before the first.
    """

    client_id: str
    data_size: int
    data_distribution: DataDistribution | None
    compute_capacity: float
    bandwidth: float
    latency: float
    reliability: float = 0.9
    server_cost: float | None = None
    train_seconds: float | None = None
    update_quality: float | None = None
    loss: float | None = None
    sketch: tuple[float, ...] | None = None

    @property
    def seconds_per_mb(self) -> float:
        """Return the seconds that one megabyte takes over the link to the server, without the latency."""
        return BITS_PER_BYTE / self.bandwidth if self.server_cost is None else self.server_cost

    def transfer_seconds(self, model_bytes: int) -> float:
        """Return the seconds that a model of `model_bytes` takes over the link to the server, with the latency."""
        return self.seconds_per_mb * model_bytes / BYTES_PER_MB + self.latency / 1000


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the objective's terms, each 0 or more.

    Attributes:
        data_quality: of how well the labels of the set match those of all candidates.
        communication: of the link time that the round costs.
        compute: of the time until the slowest client of the set has finished.
        fairness: of how long clients have not been selected.
    """

    data_quality: float = 1.0
    communication: float = 1.0
    compute: float = 1.0
    fairness: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionPolicy:
    """The rules that a selection has to follow.

    Attributes:
        min_clients: the least number of clients to select, at least 1.
        max_clients: the largest number of clients to select, at least `min_clients`.
        budget_constraint: the most seconds of link time that the set may cost; None for no limit.
        weights: the weights of the objective's terms.
        model_bytes: the size of one model as it is transferred, in bytes.
        local_epochs: how often one fit goes through the data, for the expected training time; at least 1.
        topology: over which links updates may travel: "star" is only between each client and the server, "relay" also
            between clients.
        parameters: the strategy's own parameters by name; `tunable` checks them and adds the defaults.
        known_clients: how many clients there are in all, healthy or not, for error messages; None if that is unknown.
        largest_multiple: the most times its fair share of the places that a client gets, at least 1; None for no limit
            (see `frequency`).
    """

    min_clients: int = 10
    max_clients: int = 30
    budget_constraint: float | None = None
    weights: Weights = field(default_factory=Weights)
    model_bytes: int = BYTES_PER_MB
    local_epochs: int = 1
    topology: Topology = "star"
    parameters: Mapping[str, float] = field(default_factory=dict)
    known_clients: int | None = None
    largest_multiple: float | None = LARGEST_MULTIPLE


@dataclass(frozen=True, slots=True)
class History:
    """The selections of a training's past rounds.

    Attributes:
        rounds: the ids of the clients that each round selected, oldest round first.
        joined: how many of these rounds were over when a client joined, by id. Clients that are not in it have been
            there from the beginning.
    """

    rounds: tuple[frozenset[str], ...] = ()
    joined: Mapping[str, int] = field(default_factory=dict)

    @property
    def round_number(self) -> int:
        """Return the number of the next round; the first round is 1."""
        return len(self.rounds) + 1


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selected client, and why it was selected.

    Attributes:
        client_id: the client's id.
        score: the value that the strategy gave it; its meaning depends on the strategy.
        components: the parts of the score, by name.
        marginal_cost: the seconds of link time that the client adds to the cost of the round.
    """

    client_id: str
    score: float
    components: Mapping[str, float]
    marginal_cost: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A client that was not selected.

    Attributes:
        client_id: the client's id.
        reason: one reason why it was not selected.
    """

    client_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The links over which the models and updates of a round travel.

    Attributes:
        topology: "star" if every client sends its update to the server, "relay" if some send it to other clients.
        parents: for each selected client the id of the client to which it sends its update; None for the server.
    """

    topology: Topology
    parents: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """The selection of clients for one round.

    Attributes:
        strategy: the name of the strategy that selected them.
        selected: the selected clients, best first.
        skipped: all other candidates with the reasons.
        total_cost: the expected sum of link time in seconds, for one model down and one up over each link of the plan.
        label_divergence: the Kullback-Leibler divergence in nats between the pooled labels of the selected clients and
            those of all candidates, 0 or more; None if no selected client reports labels.
        fairness: Jain's index of how often each candidate has been selected, with this round, above 0 and at most 1.
        expected_seconds: the expected time until the slowest of them has received the model, trained, and sent its
            update.
        plan: the links over which the models and updates travel.
    """

    strategy: str
    selected: tuple[Chosen, ...]
    skipped: Sequence[Skipped]
    total_cost: float
    label_divergence: float | None
    fairness: float
    expected_seconds: float
    plan: Plan

    @property
    def client_ids(self) -> tuple[str, ...]:
        """Return the ids of the selected clients, best first."""
        return tuple(chosen.client_id for chosen in self.selected)


def nobody(strategy: str, skipped: Sequence[Skipped]) -> Selection:
    """Return a selection without clients, for a round that has too few of them, with the reason of each client."""
    return Selection(
        strategy=strategy,
        selected=(),
        skipped=tuple(skipped),
        total_cost=0.0,
        label_divergence=None,
        fairness=1.0,
        expected_seconds=0.0,
        plan=Plan("star", {}),
    )


class Strategy(Protocol):
    """The function type of a strategy."""

    def __call__(
        self,
        candidates: Sequence[Candidate],
        connectivity: Connectivity,
        history: History,
        policy: SelectionPolicy,
        rng: np.random.Generator,
    ) -> Selection:
        """Select the clients of the next round.

        Raises:
            NotEnoughClients: there are fewer candidates than `policy.min_clients`.
            BudgetTooSmall: the cheapest `policy.min_clients` clients cost more than the budget.
        """
        ...
