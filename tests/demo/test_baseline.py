"""What a demo is compared with: random selection and FedAvg, on the same digits and links."""

from dataclasses import replace

import numpy as np
import pytest

from app.demo import mlp
from app.demo.baseline import Baseline, baseline
from app.demo.history import History, Row
from app.demo.summary import Outcome, summary
from app.demo.world import World

ROW = Row(
    number=1, accuracy=0.9, cost=2.0, traffic=1, selected=10, received=10, failures=0, seconds=1.0, fairness=1.0
)  # fmt: skip
OUTCOME = Outcome(
    recipe="tcs-feel",
    strategy="tcs-feel",
    baseline=Baseline((0.5, 0.8, 0.9), (1.0, 2.0, 4.0)),
    target=0.9,
    reached=True,
    history=History([ROW, ROW]),
    right=9,
    held_out=10,
    training_seconds=2.0,
    total_seconds=3.0,
)


def test_the_first_round_is_the_mean_of_what_the_clients_learn() -> None:
    world = World.of(1, 10)
    found = baseline(world, clients=10, rounds=1, target=1.0, epochs=1, rate=0.5, batch=10)
    first, held_out = mlp.initial(np.random.default_rng([1, 2])), world.held_out()
    updates = [
        mlp.train(
            first, shard.train_inputs, shard.train_labels, epochs=1, rate=0.5, batch=10,
            rng=np.random.default_rng([1, 3, position, 1]),
        )
        for position, shard in enumerate(world.shards)
    ]  # fmt: skip
    sizes = [len(shard.train_labels) for shard in world.shards]
    mean = {name: np.average([one[name] for one in updates], axis=0, weights=sizes) for name in first}
    share = mlp.measure(mean, held_out.test_inputs, held_out.test_labels)[1]
    assert list(found.accuracy) == pytest.approx([share], abs=0.01)
    transfers = [device.transfer_seconds(mlp.size(first)) for device in world.network.devices]
    assert list(found.cost) == pytest.approx([2 * sum(transfers)])


def test_it_ends_with_the_target_and_not_before() -> None:
    found = baseline(World.of(1, 10), clients=5, rounds=30, target=0.6, epochs=2, rate=0.5, batch=10)
    assert found.accuracy[-1] >= 0.6 > max(found.accuracy[:-1], default=0.0)
    assert found.reached(0.6) == len(found.accuracy) == len(found.cost)
    assert found.reached(2.0) is None


def test_the_report_says_what_a_training_without_the_recipe_reaches() -> None:
    (line,) = [line for line in summary(OUTCOME) if line.startswith("without it")]
    assert line == (
        "without it     random selection and FedAvg reach 0.9000 after 3 rounds and 7.0 s of link time; "
        "after 2 rounds they are at 0.8000 (computed here, without failures)"
    )
    missed = replace(OUTCOME, target=0.95, history=History([ROW] * 4))
    (line,) = [line for line in summary(missed) if line.startswith("without it")]
    assert line == (
        "without it     random selection and FedAvg do not reach 0.9500 in 3 rounds (computed here, without failures)"
    )
