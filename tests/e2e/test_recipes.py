"""The recipe `tcs-feel` with agents of the SDK, over real sockets, beside FedAvg with random selection."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples import numpy_mlp
from tcsfeel import Client
from tcsfeel.agent import Trainer, hosting
from tests.e2e.servers import server

STEPS = {"local_epochs": 1, "learning_rate": 0.05, "batch_size": 10}


async def test_the_recipe_learns_digits_in_fewer_rounds(sqlite_url: str, tmp_path: Path) -> None:
    def train(url: str, key: str, recipe: str) -> tuple[Any, list[Any]]:
        with Client(url, key) as client:
            ended = client.train(
                name=recipe,
                recipe=recipe,
                selection={"min_clients": 3, "max_clients": 3},
                hyperparameters=STEPS,
                max_rounds=4,
            )
            return ended, list(client.rounds(ended.id))

    trainers: Mapping[str, Trainer] = {f"edge-{shard}": numpy_mlp.trainer(shard, shards=3) for shard in range(3)}
    async with server(tmp_path, sqlite_url) as plane, hosting(trainers, server_url=plane.url, api_key=plane.key):
        ours, rounds = await asyncio.to_thread(train, plane.url, plane.key, "tcs-feel")
        plain, _ = await asyncio.to_thread(train, plane.url, plane.key, "fedavg")
    assert (ours.recipe, ours.aggregation, ours.hyperparameters["server_nesterov"]) == ("tcs-feel", "balanced", True)
    assert ours.selection.strategy == "tcs-feel"
    assert [one.status for one in rounds] == ["completed"] * 4
    for one in rounds:
        assert one.weighting.startswith("balanced by the ")
        assert sum(part.weight for part in one.participations) > 1 - 1e-9
    assert ours.best_accuracy > plain.best_accuracy > 0.1
