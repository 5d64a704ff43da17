"""Select clients in Python without a server, with the same code as the REST API.

    optimizer = TopologyOptimizer(min_clients=2, max_clients=3)
    optimizer.add_client(ClientNode("a", 500, [0.9, 0.1], compute_capacity=4.0, bandwidth=50.0, latency=20.0))
    ...
    optimizer.build_connectivity_graph([[0, 0.1, None], [0.1, 0, 0.3], [None, 0.3, 0]])
    for round_number in range(1, 101):
        clients = optimizer.optimize_topology(round_number, budget_constraint=30.0)

A planned round is recorded, because later rounds depend on the clients that took part. If the same round is planned
again, the record is replaced. The clients are the same if nothing else has changed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.network.matrix import Rows
from tcsfeel.network.topology import topology_stats
from tcsfeel.selection import (
    Candidate,
    History,
    Selection,
    SelectionPolicy,
    Weights,
    parameters_of,
    select,
    strategies,
    unfit,
)
from tcsfeel.selection.types import LARGEST_MULTIPLE
from tcsfeel.transfers import BYTES_PER_MB

Distribution = Sequence[float] | Mapping[str, float] | npt.NDArray[Any]

SMOOTHING = 0.3  # weight of the newest update quality in the moving average


@dataclass(frozen=True)
class ClientNode:
    """A client that may be selected.

    Attributes:
        node_id: the client's id, unique and not empty.
        data_size: the number of training samples, at least 1.
        data_distribution: how many samples have each label, as counts or shares that are at least 0 and not all 0: a
            sequence or an array by the number of the label, or a mapping by its name. None if it is not known. An array
            is kept as a tuple.
        compute_capacity: the speed of the device in GFLOPS, above 0.
        bandwidth: the bandwidth to the server in Mbps, above 0.
        latency: the latency to the server in ms, at least 0.
        reliability: the probability that the client finishes a task, 0..1.
        update_quality: the mean quality of the client's updates, 0..1; None before the first.
        loss: the mean training loss that the client reported last; None before the first.

    Raises:
        ValueError: a field is out of its range. The message starts with the field's name.
    """

    node_id: str
    data_size: int
    data_distribution: Distribution | None
    compute_capacity: float
    bandwidth: float
    latency: float
    reliability: float = 0.9
    update_quality: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        _require(bool(self.node_id), "node_id", "a string that is not empty")
        _require(_finite(self.data_size) and self.data_size >= 1, "data_size", "at least 1")
        for name in ("compute_capacity", "bandwidth"):
            _require(_finite(getattr(self, name)) and getattr(self, name) > 0, name, "a finite number above 0")
        _require(_finite(self.latency) and self.latency >= 0, "latency", "a finite number of at least 0")
        _require_share(self.reliability, "reliability")
        if self.update_quality is not None:
            _require_share(self.update_quality, "update_quality")
        _require(self.loss is None or _finite(self.loss), "loss", "a finite number")
        if isinstance(self.data_distribution, np.ndarray):
            object.__setattr__(self, "data_distribution", tuple(self.data_distribution.ravel().tolist()))
        if self.data_distribution is not None:
            values = list(_shares(self.data_distribution).values())
            usable = all(_finite(value) and value >= 0 for value in values) and any(value > 0 for value in values)
            _require(usable, "data_distribution", "finite numbers of at least 0, not all 0")

    def candidate(self) -> Candidate:
        """Return the client as the strategies see it."""
        return Candidate(
            client_id=self.node_id,
            data_size=int(self.data_size),
            data_distribution=None if self.data_distribution is None else _shares(self.data_distribution),
            compute_capacity=float(self.compute_capacity),
            bandwidth=float(self.bandwidth),
            latency=float(self.latency),
            reliability=float(self.reliability),
            update_quality=self.update_quality,
            loss=self.loss,
        )


class TopologyOptimizer:
    """Selects the clients of each round.

    Attributes:
        target_accuracy: the accuracy at which the caller wants to stop, 0..1. It is only stored for the caller.
        last_selection: the newest selection with scores, components, cost, and why the other clients were skipped; None
            before the first.
    """

    def __init__(
        self,
        min_clients: int = 10,
        max_clients: int = 30,
        target_accuracy: float = 0.963,
        *,
        strategy: str = "tcs-feel",
        seed: int = 0,
        weights: Weights | Mapping[str, float] | None = None,
        parameters: Mapping[str, float] | None = None,
        model_bytes: int = BYTES_PER_MB,
        largest_multiple: float | None = LARGEST_MULTIPLE,
    ) -> None:
        """Set the policy of every round.

        Args:
            min_clients: the least number of clients in a round, at least 1.
            max_clients: the largest number of clients in a round, at least `min_clients`.
            target_accuracy: the accuracy at which the caller wants to stop, 0..1.
            strategy: the name of a strategy in `tcsfeel.selection.strategies()`.
            seed: the seed of random choices, at least 0. The same seed and the same calls give the same rounds.
            weights: the weights of the objective's terms.
            parameters: the strategy's own parameters by name; see `tcsfeel.selection.parameters_of`.
            model_bytes: the size of the model in bytes, at least 1.
            largest_multiple: the most times its fair share of the places that a client gets, at least 1; None for no
                limit.

        Raises:
            ValueError: an argument is out of its range. The message starts with the argument's name.
        """
        _require(min_clients >= 1, "min_clients", "at least 1")
        _require(max_clients >= min_clients, "max_clients", f"at least min_clients, {min_clients}")
        _require_share(target_accuracy, "target_accuracy")
        _require(strategy in strategies(), "strategy", f"one of {', '.join(sorted(strategies()))}")
        _require(seed >= 0, "seed", "at least 0")
        _require(model_bytes >= 1, "model_bytes", "at least 1")
        if largest_multiple is not None:
            usable = _finite(largest_multiple) and largest_multiple >= 1
            _require(usable, "largest_multiple", "a finite number of at least 1")
        weights = _weights(weights)
        for name, rule in unfit(parameters_of(strategies()[strategy]), parameters or {}):
            raise ValueError(f"parameters.{name} {rule}")
        self.target_accuracy = target_accuracy
        self.last_selection: Selection | None = None
        self._strategy = strategy
        self._seed = seed
        self._policy = SelectionPolicy(
            min_clients=min_clients,
            max_clients=max_clients,
            weights=weights,
            model_bytes=model_bytes,
            parameters=dict(parameters or {}),
            largest_multiple=largest_multiple,
        )
        self._clients: dict[str, ClientNode] = {}
        self._connectivity = Connectivity.empty()
        self._rounds: dict[int, frozenset[str]] = {}
        self._joined: dict[str, int] = {}

    def add_client(self, client: ClientNode) -> None:
        """Add a client. It has no links until `build_connectivity_graph` is called.

        Raises:
            ValueError: a client with this id was added before.
        """
        _require(client.node_id not in self._clients, "node_id", f"new, {client.node_id!r} was added before")
        self._clients[client.node_id] = client
        self._joined[client.node_id] = max(self._rounds, default=-1)

    def build_connectivity_graph(self, matrix: Rows) -> None:
        """Set the cost of every link.

        Args:
            matrix: (N, N) the cost of each link in s/MB, with rows in the order of `add_client`. The matrix is
                symmetric and its diagonal is 0. None, or infinity in an array, means that there is no link. A 0
                outside of the diagonal is a link that costs nothing.

        Raises:
            ValueError: the matrix is not like that. It is an `InvalidConnectivity`, whose `pointer` names the cell.
        """
        self._connectivity = Connectivity.from_matrix(self._clients, matrix)

    def optimize_topology(self, round_number: int, budget_constraint: float | None = None) -> list[ClientNode]:
        """Select the clients of a round, record them, and return them, best first.

        Args:
            round_number: the number of the round, at least 0. Only rounds with lower numbers count as its past.
            budget_constraint: the most seconds of link time that the round may cost, for one model to each client and
                one back, at least 0; None for no limit.

        Raises:
            ValueError: an argument is out of its range.
            NotEnoughClients: there are fewer clients than `min_clients`.
            BudgetTooSmall: the cheapest `min_clients` clients cost more than the budget.
        """
        _require(round_number >= 0, "round_number", "at least 0")
        if budget_constraint is not None:
            _require(budget_constraint >= 0, "budget_constraint", "at least 0")
        past = [number for number in sorted(self._rounds) if number < round_number]
        joined = {client_id: sum(number <= last for number in past) for client_id, last in self._joined.items()}
        selection = select(
            self._strategy,
            [client.candidate() for client in self._clients.values()],
            self._connectivity,
            History(tuple(self._rounds[number] for number in past), joined),
            replace(self._policy, budget_constraint=budget_constraint),
            np.random.default_rng([self._seed, round_number]),
        )
        self._rounds[round_number] = frozenset(selection.client_ids)
        self.last_selection = selection
        return [self._clients[client_id] for client_id in selection.client_ids]

    def update_client_performance(
        self, node_id: str, update_quality: float, new_reliability: float | None = None, *, loss: float | None = None
    ) -> None:
        """Record what a round showed about a client, for the selections of later rounds.

        Args:
            node_id: the client's id.
            update_quality: the quality of its update, 0..1, which is added to a moving average.
            new_reliability: the client's new reliability, 0..1; None to keep the old one.
            loss: the mean training loss that it reported; None to keep the old one.

        Raises:
            ValueError: there is no such client, or a number is out of its range.
        """
        _require(node_id in self._clients, "node_id", f"the id of a client that was added, not {node_id!r}")
        _require_share(update_quality, "update_quality")
        client = self._clients[node_id]
        before = client.update_quality
        self._clients[node_id] = replace(
            client,
            update_quality=update_quality if before is None else before + SMOOTHING * (update_quality - before),
            reliability=client.reliability if new_reliability is None else new_reliability,
            loss=client.loss if loss is None else loss,
        )

    def get_topology_stats(self) -> dict[str, Any]:
        """Return the fields of `TopologyStats` by name."""
        return asdict(topology_stats(self._connectivity, [client.candidate() for client in self._clients.values()]))


def _weights(given: Weights | Mapping[str, float] | None) -> Weights:
    """Return the weights with a default for each that is not given. Raises `ValueError`."""
    known = [field.name for field in fields(Weights)]
    named = asdict(given) if isinstance(given, Weights) else dict(given or {})
    for name, weight in named.items():
        if name not in known:
            raise ValueError(f"weights.{name} is not a weight; the weights are {', '.join(known)}")
        _require(_finite(weight) and weight >= 0, f"weights.{name}", "a finite number of at least 0")
    return Weights(**named)


def _require(condition: object, name: str, rule: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {rule}")


def _require_share(value: float, name: str) -> None:
    _require(_finite(value) and 0 <= value <= 1, name, "between 0 and 1")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _shares(distribution: Distribution) -> Mapping[str, float]:
    """Return the shares by label. Positions become labels, so that lists, arrays and mappings can be mixed."""
    if isinstance(distribution, Mapping):
        return distribution
    return {str(position): value for position, value in enumerate(distribution)}
