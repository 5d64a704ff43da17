"""FedNova and SCAFFOLD with agents of the SDK, over real sockets."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from examples import numpy_mlp
from tcsfeel import Client
from tcsfeel.agent import Trainer, hosting
from tests.e2e.servers import server

RULES = {"strategy": "random", "min_clients": 3, "max_clients": 3}
STEPS = {"local_epochs": 2, "learning_rate": 0.1, "batch_size": 10}


@pytest.mark.parametrize("rule", ["fednova", "scaffold"])
async def test_a_training_learns_digits(sqlite_url: str, tmp_path: Path, rule: str) -> None:
    def train(url: str, key: str) -> tuple[Any, list[Any]]:
        with Client(url, key) as client:
            ended = client.train(
                name="digits",
                aggregation=rule,
                selection=RULES,
                hyperparameters=STEPS,
                uploads={"encoding": "int8"},
                max_rounds=4,
            )
            return ended, list(client.rounds(ended.id))

    trainers: Mapping[str, Trainer] = {f"edge-{shard}": numpy_mlp.trainer(shard, shards=3) for shard in range(3)}
    async with server(tmp_path, sqlite_url) as plane, hosting(trainers, server_url=plane.url, api_key=plane.key):
        training, rounds = await asyncio.to_thread(train, plane.url, plane.key)
    assert training.aggregation == rule
    assert [one.status for one in rounds] == ["completed"] * 4
    parts = [part for one in rounds for part in one.participations]
    assert {(part.status, part.num_steps) for part in parts} == {("received", 2 * 48)}  # 479 digits of each, in tens
    assert training.best_accuracy > 0.8, "chance is 0.1"
    # a value came in as one byte, and went out as four, or as eight with its control variate
    sent, received = (sum(getattr(part, name) for part in parts) for name in ("bytes_sent", "bytes_received"))
    assert sent / received > (4.5 if rule == "scaffold" else 2.0)
