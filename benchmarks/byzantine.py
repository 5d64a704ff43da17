"""Measure how well the aggregation rules withstand hostile clients, by real training on the digits.

A fifth of the clients is hostile, and a fifth of those that are selected in each round; they send a changed update. The
updates are combined by the rules of the product with their defaults. All runs of a seed have the same data, clients,
rounds and random numbers.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.machine import Times
from benchmarks.selection import learning
from benchmarks.selection.data import Dataset, digits, partition
from benchmarks.selection.learning import Floats, Model, local_training
from tcsfeel.aggregation.blocks import Updates
from tcsfeel.aggregation.config import Aggregation, AggregationConfig
from tcsfeel.aggregation.rules import next_model
from tcsfeel.aggregation.updates import UpdateFacts
from tcsfeel.errors import ModelNotFinite, UnusableRound

CLIENTS, PER_ROUND, HOSTILE_SHARE = 50, 20, 0.2
PARTITION = "dirichlet-1"
LAST = 5  # rounds, whose mean is the final accuracy of a training
ROBUST: tuple[Aggregation, ...] = ("trimmed_mean", "median", "multi_krum")
MOST_POINTS = 2.0  # that a robust rule may lose to the run without hostile clients
VISIBLE_POINTS = 5.0  # that the plain mean loses at least to each attack

Attack = Callable[[Floats, Floats], Floats]

# What a hostile client sends instead of its update, from the tensor that it got and the one that it has learnt.
ATTACKS: Mapping[str, Attack] = {
    "none": lambda _base, update: update,
    "scaled x 100": lambda base, update: base + 100 * (update - base),
    "sign flipped x 5": lambda base, update: base - 5 * (update - base),
    "constant 1": lambda base, _update: np.ones_like(base),
}


def train(rule: Aggregation, attack: Attack, dataset: Dataset, seed: int, rounds: int) -> float:
    """Run a training, and return its final accuracy. A round whose new model is unusable keeps the old one."""
    parts = partition(dataset.train.labels, CLIENTS, PARTITION, np.random.default_rng([seed, 0]))
    rng = np.random.default_rng([seed, 1])
    model = learning.initial(dataset.train.inputs.shape[1], np.random.default_rng([seed, 2]))
    shuffled = np.random.default_rng([seed, 3]).permutation(CLIENTS)
    hostile, honest = np.split(shuffled, [round(HOSTILE_SHARE * CLIENTS)])
    few = round(HOSTILE_SHARE * PER_ROUND)
    accuracies = []
    for _ in range(rounds):
        chosen = np.concatenate(
            [rng.choice(hostile, few, replace=False), rng.choice(honest, PER_ROUND - few, replace=False)]
        )
        mine = [parts[client] for client in chosen]
        updates, losses = local_training(model, dataset.train, mine, dataset.recipe, rng)
        base = model._asdict()
        sent = [
            {
                name: attack(base[name], layer[position]) if position < few else layer[position]
                for name, layer in updates._asdict().items()
            }
            for position in range(PER_ROUND)
        ]
        facts = [UpdateFacts(len(part), float(loss)) for part, loss in zip(mine, losses, strict=True)]
        model = combined(rule, base, sent, facts)
        accuracies.append(learning.accuracy(model, dataset.test))
    return statistics.mean(accuracies[-LAST:])


def combined(
    rule: Aggregation, base: Mapping[str, Floats], sent: Sequence[Mapping[str, Floats]], facts: Sequence[UpdateFacts]
) -> Model:
    """Combine the updates of a round as the control plane does."""
    try:
        new = next_model(AggregationConfig(aggregation=rule), Updates(base, sent), facts)
        flat = np.concatenate(list(new.blocks))
    except (UnusableRound, ModelNotFinite):
        return Model(**base)
    ends = np.cumsum([layer.size for layer in base.values()])[:-1]
    layers = zip(base.items(), np.split(flat, ends), strict=True)
    return Model(**{name: values.reshape(layer.shape) for (name, layer), values in layers})


def main(arguments: Sequence[str]) -> int:
    """Measure the accuracy of each aggregation rule with 20 % hostile clients; status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks byzantine", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args(arguments)
    times, cpu, dataset = Times.now(), time.process_time(), digits()
    print(
        f"{options.seeds} seeds, {options.rounds} rounds of {PER_ROUND} of {CLIENTS} clients, "
        f"{HOSTILE_SHARE:.0%} of them hostile, digits, {PARTITION}: mean final accuracy (points lost to the attack)"
    )
    print(f"{'rule':16}" + "".join(f"{name:>24}" for name in ATTACKS))
    worst, least = 0.0, 100.0
    for rule in ("fedavg", *ROBUST):
        means = [
            100 * statistics.mean(train(rule, attack, dataset, seed, options.rounds) for seed in range(options.seeds))
            for attack in ATTACKS.values()
        ]
        lost = [means[0] - mean for mean in means[1:]]
        cells = [f"{means[0]:.1f} %"] + [
            f"{mean:.1f} % ({less:+.1f})" for mean, less in zip(means[1:], lost, strict=True)
        ]
        print(f"{rule:16}" + "".join(f"{cell:>24}" for cell in cells), flush=True)
        if rule == "fedavg":
            least = min(lost)
        else:
            worst = max(worst, *lost)
    print(times.report(time.process_time() - cpu))
    print(
        f"byzantine: a robust rule loses at most {worst:.1f} points (bar {MOST_POINTS:g}), fedavg at least {least:.1f}"
    )
    return 0 if worst <= MOST_POINTS and least >= VISIBLE_POINTS else 1
