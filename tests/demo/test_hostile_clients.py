"""Robust rules as they are by default, in a real training of which a fifth of the clients are hostile."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.demo import mlp
from app.demo.digits import Shard, shards
from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import UpdateFacts, Updates, next_model
from tcsfeel.aggregation.config import Aggregation

CLIENTS, HOSTILE, ROUNDS = 20, 4, 8
Arrays = dict[str, npt.NDArray[Any]]


def accuracy_after(rule: Aggregation, **hyperparameters: float) -> float:
    """On held-out digits, where the first four of twenty clients send ten times the contrary of what they learnt."""
    config = TrainingConfig(name="t", aggregation=rule, hyperparameters=hyperparameters)
    rng = np.random.default_rng(7)
    digits = _together(shards(CLIENTS, rng))
    deal = np.array_split(rng.permutation(len(digits.train_labels)), CLIENTS)
    model: Arrays = dict(mlp.initial(rng))
    for _ in range(ROUNDS):
        updates: list[Arrays] = []
        for number, rows in enumerate(deal):
            inputs, labels = digits.train_inputs[rows], digits.train_labels[rows]
            learnt: Arrays = dict(mlp.train(model, inputs, labels, epochs=2, rate=0.5, batch=10, rng=rng))
            if number < HOSTILE:
                learnt = {name: model[name] - np.float32(10) * (learnt[name] - model[name]) for name in model}
            updates.append(learnt)
        new = next_model(
            config, Updates(model, updates), [UpdateFacts(len(rows), 1.0, {"accuracy": 0.5}) for rows in deal]
        )
        blocks = list(new.blocks)
        model = {name: block.reshape(model[name].shape) for name, block in zip(model, blocks, strict=True)}
    return mlp.measure(model, digits.test_inputs, digits.test_labels)[1]


def _together(parts: list[Shard]) -> Shard:
    columns = ("train_inputs", "train_labels", "test_inputs", "test_labels")
    return Shard(*(np.concatenate([getattr(shard, name) for shard in parts]) for name in columns))


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum", "multi_krum", "geometric_median"])
def test_the_defaults_of_a_robust_rule_stand_a_fifth_of_hostile_clients(rule: Aggregation) -> None:
    assert accuracy_after(rule) > (0.85 if rule == "krum" else 0.9)  # krum learns from one client a round


@pytest.mark.parametrize(
    ("rule", "given"),
    [("fedavg", {}), ("trimmed_mean", {"server_trim_fraction": 0.1}), ("multi_krum", {"server_byzantine_clients": 1})],
)
def test_what_protects_from_fewer_is_carried_away(rule: Aggregation, given: dict[str, float]) -> None:
    assert accuracy_after(rule, **given) < 0.8
