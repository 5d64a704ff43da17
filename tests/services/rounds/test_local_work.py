"""Slow clients do fewer local epochs, and what is measured of them counts as if they had done all.

Covers: app.services.rounds.selecting
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.clients import Measured
from app.domain.rounds import Round
from tests.clocks import FakeClock, Sleeping
from tests.planes import Adder, Plane, plane, policy
from tests.services.rounds.test_relaying import TREE, four, relayed, via
from tests.services.rounds.test_times import SECONDS, Slow


async def measured(running: Plane, seconds: Mapping[str, float]) -> None:
    """Let clients be elastic, with measured training times."""
    async with running.system.db.begin() as tx:
        for client_id, took in seconds.items():
            client = await tx.clients.get(client_id)
            profile = replace(client.profile, elastic=True)
            after = replace(client, profile=profile, measured=Measured(train_seconds=took))
            await tx.clients.put_profile(client, after)
            await tx.clients.put(after)


def planned(round_: Round) -> dict[str, int | None]:
    return {part.client_id: part.local_epochs for part in round_.participations}


def told(trainers: Mapping[str, Adder]) -> dict[str, object]:
    return {client_id: trainer.hyperparameters["local_epochs"] for client_id, trainer in trainers.items()}


async def test_a_slow_client_is_told_fewer_epochs_and_measured_as_if_it_had_done_all(
    database_url: str, tmp_path: Path
) -> None:
    clock = FakeClock(sleeping=Sleeping.LASTS)
    trainers = {"a": Adder(), "b": Adder(), "c": Slow(clock)}
    rules = policy(deadline_seconds=6000.0, local_work="elastic")
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        await measured(running, {"a": 4.0, "b": 8.0, "c": 20.0})
        training_id = await running.create(
            hyperparameters={"local_epochs": 5}, round_policy=rules, evaluation_clients=0
        )
        ended = await running.run_round(training_id)
        assert ended.status == "completed"
        assert planned(ended) == {"a": None, "b": None, "c": 2}  # of 8 s
        assert told(trainers) == {"a": 5, "b": 5, "c": 2}
        seen = (await running.system.clients.get("c")).measured.train_seconds
        assert seen == pytest.approx(20.0 + 0.3 * (SECONDS * 5 / 2 - 20.0), rel=0.1)


async def test_each_client_below_a_relay_has_its_own_epochs_planned_in_a_thread_if_there_are_many(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.rounds.selecting.FEW", 3)
    trainers = four()
    async with relayed(tmp_path, database_url, trainers, TREE) as (running, _):
        await measured(running, {"r": 18.0, "a": 4.0, "b": 6.0, "c": 8.0})
        training_id = await running.create(
            topology="relay",
            hyperparameters={"local_epochs": 5},
            round_policy=policy(local_work="elastic"),
            evaluation_clients=0,
        )
        ended = await running.run_round(training_id)
        assert via(ended) == {"r": None, "a": "r", "b": "r", "c": None}
        assert planned(ended) == {"r": 2, "a": 5, "b": 5, "c": None}  # of 8 s
        assert told(trainers) == {"r": 2, "a": 5, "b": 5, "c": 5}
        for name in "ra":
            seen = (await running.system.clients.get(name)).measured.train_seconds
            assert seen is not None
            assert seen < {"r": 18.0, "a": 4.0}[name], "its agent says that it has trained for next to no time"
