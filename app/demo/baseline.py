"""Compute what plain federated averaging of randomly chosen clients reaches, to compare a demo with it.

It trains on the same digits, with the same links and the same first model, but in this process: no device takes its
time, and none fails, which favours it.
"""

from dataclasses import dataclass

import numpy as np

from app.demo import mlp
from app.demo.world import World


@dataclass(frozen=True, slots=True)
class Baseline:
    """The course of a training with random selection and FedAvg.

    Attributes:
        accuracy: the share of the held-out digits that are classified correctly, after each round.
        cost: the link time in seconds of each round.
    """

    accuracy: tuple[float, ...]
    cost: tuple[float, ...]

    def reached(self, target: float) -> int | None:
        """Return the number of the first round that reached a target; None if none did."""
        return next((number for number, share in enumerate(self.accuracy, 1) if share >= target), None)


def baseline(
    world: World, *, clients: int, rounds: int, target: float, epochs: int, rate: float, batch: int
) -> Baseline:
    """Train until the target is reached, for at least one and at most `rounds` rounds.

    Args:
        world: the clients with their digits and devices.
        clients: how many of them take part in a round.
        rounds: the most rounds.
        target: the accuracy at which it ends, 0..1.
        epochs: passes over its digits that a client makes in a round.
        rate: of the local steps.
        batch: the digits of one step.
    """
    draw, held_out = np.random.default_rng([world.seed, 5]), world.held_out()
    model = mlp.initial(np.random.default_rng([world.seed, 2]))
    size, accuracy, cost = mlp.size(model), list[float](), list[float]()
    while len(accuracy) < rounds and (not accuracy or accuracy[-1] < target):
        members = draw.choice(len(world.shards), clients, replace=False).tolist()
        shards = [world.shards[member] for member in members]
        updates = [
            mlp.train(
                model,
                shard.train_inputs,
                shard.train_labels,
                epochs=epochs,
                rate=rate,
                batch=batch,
                rng=np.random.default_rng([world.seed, 3, member, len(accuracy) + 1]),
            )
            for member, shard in zip(members, shards, strict=True)
        ]
        weights = np.array([len(shard.train_labels) for shard in shards], np.float64)
        weights /= weights.sum()
        model = {
            name: np.tensordot(weights, [update[name] for update in updates], axes=1).astype(np.float32)
            for name in model
        }
        accuracy.append(mlp.measure(model, held_out.test_inputs, held_out.test_labels)[1])
        cost.append(sum(2 * world.network.devices[member].transfer_seconds(size) for member in members))
    return Baseline(tuple(accuracy), tuple(cost))
