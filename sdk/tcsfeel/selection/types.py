"""Define what every selection strategy is given and returns.

A strategy is a function ``(candidates, connectivity, history, policy, rng) -> Selection``. It does no I/O, reads no
clock and draws only from `rng`, so that the same seed and state give the same answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.transfers import BYTES_PER_MB, Topology

DataDistribution = Sequence[float] | Mapping[str, float]
BITS_PER_BYTE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A client that may be selected. Measured values have already replaced the claimed ones where there are any.

    Attributes:
        client_id: unique among the candidates.
        data_size: samples, at least 1.
        data_distribution: label counts or shares, by position or by label; None when not reported.
        compute_capacity: GFLOPS, above 0.
        bandwidth: Mbps to the server, above 0.
        latency: ms to the server, at least 0.
        reliability: probability that a task given to it comes back, 0..1.
        server_cost: s/MB over the server link where the client states it, else None (8 / bandwidth).
        train_seconds: measured mean seconds for one fit, None until there was one.
        update_quality: mean quality of its past updates, 0..1, None until there was one.
        loss: the mean training loss that it last reported in this training, None until it did.
        sketch: what its past updates in this training say of its labels (`sketches`), None until there was one.
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
        """Return what one megabyte costs over its link to the server."""
        return BITS_PER_BYTE / self.bandwidth if self.server_cost is None else self.server_cost

    def transfer_seconds(self, model_bytes: int) -> float:
        """Return the seconds that one model takes over the link to the server."""
        return self.seconds_per_mb * model_bytes / BYTES_PER_MB + self.latency / 1000


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each term of the objective counts; each at least 0."""

    data_quality: float = 1.0
    communication: float = 1.0
    compute: float = 1.0
    fairness: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionPolicy:
    """What a selection must respect.

    Attributes:
        min_clients: the fewest clients to choose, at least 1.
        max_clients: the most, at least `min_clients`.
        budget_constraint: seconds of link time that the set may cost, None for no limit.
        weights: of the objective's terms.
        model_bytes: size of one model on the wire.
        local_epochs: passes over the data in one fit, for the expected training time.
        topology: whether updates may travel over links between clients.
        parameters: of the strategy, by name; `tunable` fills in and checks them.
        known_clients: how many clients there are in all, healthy or not (for messages).
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


@dataclass(frozen=True, slots=True)
class History:
    """Who was selected in the training's past rounds, oldest first; and for a newcomer how many had gone by."""

    rounds: tuple[frozenset[str], ...] = ()
    joined: Mapping[str, int] = field(default_factory=dict)

    @property
    def round_number(self) -> int:
        """Return the number of the round that is to be planned, from 1."""
        return len(self.rounds) + 1


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selected client: its score, the terms that made it, and what it adds to the round's cost (s of link time)."""

    client_id: str
    score: float
    components: Mapping[str, float]
    marginal_cost: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A candidate that was not selected, and one reason."""

    client_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Over which links the updates travel: each selected client's parent, None for the server."""

    topology: Topology
    parents: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """The clients of one round.

    Attributes:
        selected: best first.
        skipped: every other candidate.
        total_cost: seconds of link time that the round's transfers are expected to take, one model down and one up over
            every link of the plan.
        label_divergence: KL divergence (nats) of the selected clients' pooled labels from all candidates'; None when
            no selected client reports labels.
        fairness: Jain's index of how often each candidate has been selected, this round included.
        expected_seconds: until the slowest of them has received the model, trained, and sent its update.
        plan: the links.
    """

    strategy: str
    selected: tuple[Chosen, ...]
    skipped: tuple[Skipped, ...]
    total_cost: float
    label_divergence: float | None
    fairness: float
    expected_seconds: float
    plan: Plan

    @property
    def client_ids(self) -> tuple[str, ...]:
        return tuple(chosen.client_id for chosen in self.selected)


def nobody(strategy: str, skipped: Sequence[Skipped]) -> Selection:
    """Return the selection of a round with too few clients: it says why each of the others was out."""
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
        """Choose the clients of the next round.

        Raises:
            NotEnoughClients: fewer candidates than `policy.min_clients`.
            BudgetTooSmall: the cheapest `policy.min_clients` cost more than the budget.
        """
        ...
