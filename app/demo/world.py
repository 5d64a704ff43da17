"""Make the clients of a demo. Each process makes the same clients from the seed, so that no data is transferred."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from app.demo.device import DeviceTrainer
from app.demo.digits import Shard, shards
from app.demo.network import Network, network


@dataclass(frozen=True, slots=True)
class World:
    """The clients of a demo by position: their ids, their digits, their devices, and the links between them."""

    seed: int
    client_ids: tuple[str, ...]
    shards: tuple[Shard, ...]
    network: Network

    @classmethod
    def of(cls, seed: int, clients: int, *, slower: float = 1.0) -> "World":
        """Make the world of a seed, in which links take `slower` times as long for each byte as usual."""
        return cls(
            seed,
            tuple(f"edge-{number:02}" for number in range(1, clients + 1)),
            tuple(shards(clients, np.random.default_rng([seed, 0]))),
            network(clients, np.random.default_rng([seed, 1])).slower(slower),
        )

    def trainers(self, share: int, shares: int, *, shaped: bool = False) -> dict[str, DeviceTrainer]:
        """Return the trainers of every `shares`-th client, beginning with the position `share`, by client id.

        `shaped` says whether models travel over links with the speeds of the devices; see `DeviceTrainer`.
        """
        return {
            self.client_ids[position]: DeviceTrainer(
                self.shards[position], self.network.devices[position], seed=self.seed, position=position, shaped=shaped
            )
            for position in range(share, len(self.client_ids), shares)
        }

    def connectivity(self) -> dict[str, Any]:
        """Return the body of ``PUT /v1/connectivity``."""
        rows = self.network.costs.tolist()
        return {
            "client_ids": list(self.client_ids),
            "costs": [[cost if np.isfinite(cost) else None for cost in row] for row in rows],
        }

    def held_out(self) -> Shard:
        """Return the digits of all clients in one shard, with those to train on and those to measure with."""
        columns = ("train_inputs", "train_labels", "test_inputs", "test_labels")
        return Shard(*(np.concatenate([getattr(shard, name) for shard in self.shards]) for name in columns))
