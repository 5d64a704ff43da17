"""Compare trainings that carry their stragglers with trainings that skip them, on a clock that is simulated.

Clients train for real on scikit-learn's digits, with the product's rules of when a round goes on, which task is
carried, and how much a stale update weighs. Only time is drawn: a task takes 1 s times a log-normal factor, and 30 % of
the clients are stragglers, which take 6 times as long at the median. A training ends at its target, or after 400
rounds.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.domain.carrying import discount, may_be_carried
from app.domain.rounds import Participation, Round, goal_count, quorum_count
from app.domain.tasks import TaskRun
from app.domain.trainings import RoundPolicy
from app.domain.verdicts import judge
from benchmarks.selection.data import Dataset, digits, partition
from benchmarks.selection.learning import Model, Rows, accuracy, federated_average, initial, local_training

CLIENTS, PER_ROUND, ROUNDS = 40, 10, 400
STRAGGLERS, SLOWER, SPREAD = 0.3, 6.0, 0.5  # their share, how much slower they are, and the sigma of all factors
RARE = 7  # the first label that only stragglers have, if labels go by speed
BAR = 0.6
DATA = ("dirichlet-0.3", "labels by speed")
POLICIES = {
    "quorum 0.6": RoundPolicy(quorum=0.6, grace_seconds=0.5),
    "quorum 0.3": RoundPolicy(quorum=0.3, grace_seconds=0.0),
    "all updates": RoundPolicy(quorum=1.0),
}


@dataclass(frozen=True, slots=True)
class _Task:
    """The task of a client: the round and the model with which it began, what comes of it, and when (seconds)."""

    client: int
    begun_in: int
    base: Model
    update: Model
    arrives: float


def main(arguments: Sequence[str]) -> int:
    """Measure how soon trainings with slow clients reach their target; status 1 if carrying misses the bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks carry", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--target", type=float, default=0.9)
    parser.add_argument("--slower", type=float, default=SLOWER, help="times as slow as others; 1: no stragglers")
    options = parser.parse_args(arguments)
    dataset, missed = digits(), False
    print(f"seconds of simulated time to {options.target:.0%}, medians of {options.seeds} seeds (range)")
    for data in DATA:
        for name, policy in POLICIES.items():
            found = {
                kind: [
                    seconds(dataset, data, replace(policy, stragglers=kind), seed, options)
                    for seed in range(options.seeds)
                ]
                for kind in ("skip", "carry")
            }
            ratio = statistics.median(found["carry"]) / statistics.median(found["skip"])
            missed |= not ratio <= BAR
            if ratio == 0.0:
                told = "only carrying reaches the target"
            else:
                told = f"carry takes {ratio:.2f} of the time (bar {BAR})"
            shown = "   ".join(f"{kind} {_shown(times)}" for kind, times in found.items())
            print(f"{data:16} {name:12} {shown}   {told}")
    return int(missed)


def seconds(dataset: Dataset, data: str, policy: RoundPolicy, seed: int, options: argparse.Namespace) -> float:
    """Return the simulated seconds until a training reaches its target; inf if it does not within `ROUNDS`."""
    rngs = [np.random.default_rng([seed, stream]) for stream in range(5)]
    slow = rngs[0].permutation(CLIENTS) < round(STRAGGLERS * CLIENTS)
    parts = _parts(dataset.train.labels, data, slow, rngs[1])
    model, now = initial(dataset.train.inputs.shape[1], rngs[2]), 0.0
    flying: list[_Task] = []
    for number in range(1, ROUNDS + 1):
        busy = {task.client for task in flying}
        free = [client for client in rngs[3].permutation(CLIENTS).tolist() if client not in busy]
        chosen = free[: max(1, PER_ROUND - len(flying))]
        updates, _ = local_training(model, dataset.train, [parts[one] for one in chosen], dataset.recipe, rngs[4])
        took = np.where(slow[chosen], options.slower, 1.0) * rngs[4].lognormal(0.0, SPREAD, len(chosen))
        flying += [
            _Task(client, number, model, Model(*(layer[place] for layer in updates)), now + float(took[place]))
            for place, client in enumerate(chosen)
        ]
        now = _end(policy, [task.arrives for task in flying], len(chosen), now)
        came = [task for task in flying if task.arrives <= now]
        model = _combined(model, came, [len(parts[task.client]) for task in came], number)
        flying = [task for task in flying if task.arrives > now and _is_carried(policy, task, number)]
        if accuracy(model, dataset.test) >= options.target:
            return now
    return float("inf")


def _end(policy: RoundPolicy, arrivals: Sequence[float], selected: int, began: float) -> float:
    """Return when a round goes on whose updates arrive at these times, those of `selected` clients among them."""
    count = len(arrivals)
    wanted = {
        "goal": goal_count(count, policy),
        "quorum": quorum_count(selected, policy),
        "early": quorum_count(count, policy),
    }
    now, deadline = began, began + policy.deadline_seconds
    while True:
        came = [max(began, at) for at in arrivals if at <= now]
        verdict = judge(
            now=now, arrivals=came, outstanding=count - len(came), deadline=deadline,
            grace_seconds=policy.grace_seconds, **wanted,
        )  # fmt: skip
        if verdict.action != "wait":
            return now
        now = min([verdict.until, *(at for at in arrivals if at > now)])


def _is_carried(policy: RoundPolicy, task: _Task, number: int) -> bool:
    part = Participation(client_id=str(task.client), status="training", begun_in=task.begun_in)
    round_ = Round(training_id="t", number=number, status="training", seed=0, started_at=0.0, deadline_at=0.0)
    return may_be_carried(policy, round_, part, TaskRun())


def _combined(model: Model, came: Sequence[_Task], examples: Sequence[int], number: int) -> Model:
    """Return the mean of the updates of a round, each as the difference to the model that it began with.

    Each round makes a version, so an update is as many versions old as its task is rounds old.
    """
    moved = [
        Model(*(now + (new - old) for now, new, old in zip(model, one.update, one.base, strict=True))) for one in came
    ]
    weights = [count * discount(number - one.begun_in) for count, one in zip(examples, came, strict=True)]
    return federated_average(Model(*map(np.stack, zip(*moved, strict=True))), np.array(weights))


def _parts(labels: Rows, data: str, slow: npt.NDArray[np.bool_], rng: np.random.Generator) -> list[Rows]:
    """Return the rows of each client."""
    if data != DATA[1]:
        return partition(labels, CLIENTS, data, rng)
    found: dict[int, Rows] = {}
    for is_slow in (False, True):
        clients = np.flatnonzero(slow == is_slow)
        rows = rng.permutation(np.flatnonzero((labels >= RARE) == is_slow))
        found |= dict(zip(clients.tolist(), np.array_split(rows, len(clients)), strict=True))
    return [found[client] for client in range(CLIENTS)]


def _shown(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"
