"""Run a training with one strategy: select like the control plane, train for real, and record the costs.

A strategy sees of a client what the control plane would show it: the claims at first, and moving averages as soon as
something was measured.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from app.domain.clients import Client, Profile
from app.domain.local_work import planned_epochs
from benchmarks.selection.data import Dataset, label_counts, partition
from benchmarks.selection.knowledge import LabelKnowledge, Sketches, reported
from benchmarks.selection.learning import Model, Rows, accuracy, batches, copies, initial, side_by_side, stacked
from benchmarks.selection.published import PUBLISHED
from benchmarks.selection.rules import Rule
from benchmarks.selection.world import MODEL_BYTES, World
from tcsfeel.aggregation import update_quality
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import Candidate, History, SelectionPolicy, Weights, select
from tcsfeel.selection.candidates import Candidates
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.types import Plan
from tcsfeel.transfers import Topology
from tcsfeel.wire.tasks import Scalar

Floats = npt.NDArray[np.float64]

PARTITION, NETWORK, MODEL, FAILURES, SELECTION, TRAINING, NOISE = range(7)  # streams of a seed's random numbers


@dataclass(frozen=True, slots=True)
class Contender:
    """A strategy with its settings, and a name for both. By default clients may be selected as often as it likes.

    With `elastic`, slow clients do fewer local epochs, as the control plane would plan it.
    """

    name: str
    strategy: str
    topology: Topology = "star"
    weights: Weights = field(default_factory=Weights)
    labels: LabelKnowledge = "exact"
    rule: Aggregation = "fedavg"
    hyperparameters: Mapping[str, Scalar] = field(default_factory=dict)
    parameters: Mapping[str, float] = field(default_factory=dict)
    largest_multiple: float | None = None
    elastic: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in which contenders are compared: N clients with data that is split in some way, K in each round."""

    dataset: str
    partition: str
    clients: int
    per_round: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Trace:
    """The course of a training.

    Attributes:
        accuracy: (R,) the accuracy on held-out data after each round.
        cost: (R,) the link time of each round in seconds.
        seconds: (R,) the modelled duration of each round in seconds.
        counts: (N,) how often each client was selected.
        selecting: the mean seconds of a selection.
    """

    accuracy: Floats
    cost: Floats
    seconds: Floats
    counts: npt.NDArray[np.intp]
    selecting: float


def train(dataset: Dataset, setting: Setting, contender: Contender, seed: int) -> Trace:
    """Run a training. The same seed gives every contender the same links, data, initial model and failures."""
    return train_each(dataset, setting, contender, [seed])[0]


def train_each(dataset: Dataset, setting: Setting, contender: Contender, seeds: Sequence[int]) -> list[Trace]:
    """Run the trainings of several seeds at once: in each round, the clients of all of them train side by side."""
    trainings = [_training(dataset, setting, contender, seed) for seed in seeds]
    work = [next(training) for training in trainings]
    for _ in range(setting.rounds - 1):
        work = [one.send(done) for one, done in zip(trainings, _done(dataset, work), strict=True)]
    return [_trace(one, done) for one, done in zip(trainings, _done(dataset, work), strict=True)]


class Work(NamedTuple):
    """The work of a training's K clients in a round: the model that they get, their batches, and their corrections."""

    model: Model
    plans: list[Rows]
    corrections: Model | None


Done = tuple[Model, Floats]
Training = Generator[Work, Done, Trace]


def _done(dataset: Dataset, work: Sequence[Work]) -> list[Done]:
    """Let the clients of several trainings train."""
    plans = [plan for one in work for plan in one.plans]
    if not plans:
        return [(copies(one.model, 0), np.zeros(0)) for one in work]
    models = stacked([copies(one.model, len(one.plans)) for one in work])
    corrections = None
    if any(one.corrections for one in work):
        still = [copies(Model(*map(np.zeros_like, one.model)), len(one.plans)) for one in work]
        corrections = stacked([one.corrections or none for one, none in zip(work, still, strict=True)])
    updates, losses = side_by_side(models, dataset.train, plans, dataset.recipe.rate, corrections)
    ends = np.cumsum([len(one.plans) for one in work]).tolist()
    return [(Model(*(layer[start:end] for layer in updates)), losses[start:end]) for start, end in pairwise([0, *ends])]


def _trace(training: Training, done: Done) -> Trace:
    """Give a training what its last clients did, and return its trace."""
    try:
        training.send(done)
    except StopIteration as ended:
        return cast(Trace, ended.value)
    raise RuntimeError("the training should have ended")


def _training(dataset: Dataset, setting: Setting, contender: Contender, seed: int) -> Training:
    """Run a training, which yields the work of each round and is sent what became of it."""
    rngs = [np.random.default_rng([seed, stream]) for stream in range(7)]
    parts = partition(dataset.train.labels, setting.clients, setting.partition, rngs[PARTITION])
    samples = np.array([len(part) for part in parts])
    world = World.of(samples, rngs[NETWORK])
    model = initial(dataset.train.inputs.shape[1], rngs[MODEL])
    rule = Rule(contender.rule, dataset.recipe, samples, contender.hyperparameters)
    policy = SelectionPolicy(
        min_clients=setting.per_round,
        max_clients=setting.per_round,
        weights=contender.weights,
        model_bytes=MODEL_BYTES,
        local_epochs=dataset.recipe.epochs,
        topology=contender.topology,
        largest_multiple=contender.largest_multiple,
        parameters=contender.parameters,
    )
    counts = [label_counts(dataset.train.labels, part) for part in parts]
    fleet = Fleet(world, samples, [reported(own, contender.labels, rngs[NOISE]) for own in counts])
    rows, chosen, selecting, whole = [], list[frozenset[str]](), 0.0, dataset.recipe.epochs
    for _ in range(setting.rounds):
        comes_back = rngs[FAILURES].random(setting.clients) < world.reliability
        began = time.perf_counter()
        seen = fleet.candidates()
        plan = chosen_by(contender.strategy, seen, world.links, History(tuple(chosen)), policy, rngs[SELECTION])
        selecting += time.perf_counter() - began
        chosen.append(frozenset(plan.parents))
        members = np.array([fleet.position[client_id] for client_id in plan.parents])
        back = members[comes_back[members]]
        names = back.tolist()
        epochs = dict[str, int]()
        if contender.elastic:
            epochs = planned_epochs(plan, Candidates.of(seen), world.links, policy, fleet.position)
        own = [epochs.get(client_id, whole) for client_id in world.client_ids]
        plans = [batches(parts[name], dataset.recipe._replace(epochs=own[name]), rngs[TRAINING]) for name in names]
        updates, losses = yield Work(model, plans, rule.corrections(names) if names else None)
        if names:
            if contender.labels == "sketch" or contender.strategy == "divfl":
                fleet.sketches.fold(model, updates, names)
            means = means_of(plan, [seen[name].client_id for name in names])
            model = rule.combine(model, updates, names, seen, means, steps=[len(steps) for steps in plans])
        fleet.learn(members, dict(zip(names, losses.tolist(), strict=True)))
        working = world.working(np.array(own) / whole)
        rows.append((accuracy(model, dataset.test), *bill(working, fleet.position, plan, comes_back)))
    accuracies, costs, seconds = np.array(rows).T
    times = np.array([sum(client_id in ids for ids in chosen) for client_id in world.client_ids])
    return Trace(accuracies, costs, seconds, times, selecting / setting.rounds)


def chosen_by(  # noqa: PLR0917  (a strategy's arguments, and its name)
    strategy: str,
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Plan:
    """Return whom a strategy of the product or of a paper chooses."""
    if strategy not in PUBLISHED:
        return select(strategy, candidates, connectivity, history, policy, rng).plan
    pool = Pool.of(candidates, connectivity, history, policy)
    return Plan("star", dict.fromkeys(pool.ids(PUBLISHED[strategy](pool, rng))))


def means_of(plan: Plan, came_back: Sequence[str]) -> list[int]:
    """Return the number of the mean that each update is in: that of its relay, or its own if no relay brought it."""
    by = [parent if (parent := plan.parents[one]) in came_back else one for one in came_back]
    numbers = {client_id: number for number, client_id in enumerate(dict.fromkeys(by))}
    return [numbers[client_id] for client_id in by]


class Fleet:
    """The clients as the control plane knows them."""

    def __init__(
        self, world: World, samples: npt.NDArray[np.intp], distributions: Sequence[list[float] | None]
    ) -> None:
        self.sketches = Sketches()
        self.position = {client_id: position for position, client_id in enumerate(world.client_ids)}
        self._world = world
        self._losses: dict[int, float] = {}
        self._clients = [
            Client(
                id=client_id,
                profile=Profile(
                    url="http://agent.example",
                    data_size=int(samples[position]),
                    data_distribution=distributions[position],
                    compute_capacity=float(world.compute[position]),
                    bandwidth=float(world.bandwidth[position]),
                    latency=float(world.latency[position]),
                    reliability=float(world.reliability[position]),
                ),
                created_at=0.0,
                updated_at=0.0,
            )
            for client_id, position in self.position.items()
        ]

    def candidates(self) -> list[Candidate]:
        """Return the candidates as a strategy gets them."""
        return [
            replace(client.candidate(), loss=self._losses.get(position), sketch=self.sketches.means.get(position))
            for position, client in enumerate(self._clients)
        ]

    def learn(self, members: npt.NDArray[np.intp], losses: Mapping[int, float]) -> None:
        """Add a round to the averages: the clients that were asked, and the losses of those that answered."""
        self._losses.update(losses)
        for member in members.tolist():
            client, came = self._clients[member], member in losses
            self._clients[member] = client.observed(
                reliability=1.0 if came else 0.0,
                train_seconds=float(self._world.train_seconds[member]) if came else None,
                last_update_quality=update_quality(losses[member]) if came else None,
            )


def bill(
    world: World, position: Mapping[str, int], plan: Plan, comes_back: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the cost of a round in seconds of link time, and its duration, which is that of the slowest client.

    Every link of the plan carries one model down and one update up, also those of clients that failed. A client whose
    relay failed uses its link to the server in addition, both ways.
    """
    cost, arrivals = 0.0, dict[int, float]()
    for client_id, parent in plan.parents.items():
        me = position[client_id]
        to_server, training = float(world.server_seconds[me]), float(world.train_seconds[me])
        if parent is None:
            cost += 2 * to_server
            arrivals[me] = max(arrivals.get(me, 0.0), 2 * to_server + training)
            continue
        relay = position[parent]
        hop = world.links.neighbours(client_id)[parent] * MODEL_BYTES / 1e6
        relay_to_server = float(world.server_seconds[relay])
        over_relay = relay_to_server + hop + training + hop + relay_to_server
        cost += 2 * hop
        if comes_back[relay]:
            arrivals[relay] = max(arrivals.get(relay, 0.0), over_relay)
        else:
            cost += 2 * to_server
            arrivals[me] = over_relay + 2 * to_server
    return cost, max(arrivals.values())
