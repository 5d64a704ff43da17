"""Who takes part in a demo: every process makes the same world from its seed, so that no data travels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from app.demo.device import DeviceTrainer
from app.demo.digits import Shard, shards
from app.demo.network import Network, network


@dataclass(frozen=True, slots=True)
class World:
    """The clients by position: their ids, their digits, their devices and the links between those."""

    seed: int
    client_ids: tuple[str, ...]
    shards: tuple[Shard, ...]
    network: Network

    @classmethod
    def of(cls, seed: int, clients: int) -> "World":
        """The world of a seed."""
        return cls(
            seed,
            tuple(f"edge-{number:02}" for number in range(1, clients + 1)),
            tuple(shards(clients, np.random.default_rng([seed, 0]))),
            network(clients, np.random.default_rng([seed, 1])),
        )

    def trainers(self, share: int, shares: int) -> dict[str, DeviceTrainer]:
        """By client id, the trainers of every `shares`-th client, beginning with position `share`."""
        return {
            self.client_ids[position]: DeviceTrainer(
                self.shards[position], self.network.devices[position], seed=self.seed, position=position
            )
            for position in range(share, len(self.client_ids), shares)
        }

    def connectivity(self) -> dict[str, Any]:
        """The body of ``PUT /v1/connectivity``."""
        rows = self.network.costs.tolist()
        return {
            "client_ids": list(self.client_ids),
            "costs": [[cost if np.isfinite(cost) else None for cost in row] for row in rows],
        }

    def held_out(self) -> Shard:
        """All clients' digits in one shard: what the model is measured on, with what it is trained on."""
        columns = ("train_inputs", "train_labels", "test_inputs", "test_labels")
        return Shard(*(np.concatenate([getattr(shard, name) for shard in self.shards]) for name in columns))
