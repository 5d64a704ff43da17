"""Rounds that have begun get their clients, or end where no plan can be made."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import NotFound
from app.domain.rounds import Round
from app.domain.trainings import SelectionConfig, Training
from app.services.rounds.selecting import Selecting
from app.store.leases import Fenced, Lease
from tests.clocks import FakeClock
from tests.planes import Adder, Plane, plane, policy, until
from tests.services.courses import statuses
from tests.services.fakes import profile
from tests.services.rounds.test_crowds import claimed


async def begun(running: Plane, **fields: Any) -> tuple[Selecting, Lease, Training, Round]:
    """A training whose lease is ours, and its first round, which is not planned yet."""
    training_id = await running.create(**fields)
    await running.system.trainings.start(training_id)
    lease = await claimed(running, "us")
    round_ = await running.system.coordinator._next(lease)
    assert round_ is not None
    training = await running.system.trainings.get(training_id)
    return running.system.coordinator._engine._selecting, lease, training, round_


async def test_the_first_round_is_planned_with_a_model_from_a_client(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder(), "b": Adder()}) as running:
        selecting, lease, training, value = await begun(running)
        planned = await selecting.select(lease, training, value)
        assert (planned.status, statuses(planned)) == ("training", {"a": "training", "b": "training"})
        assert planned.base_model == (await running.system.trainings.get(training.id)).model is not None
        assert await running.round(training.id, 1) == planned


async def test_a_plan_is_the_same_each_time_and_stores_nothing(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {name: Adder() for name in "abcd"}) as running:
        selecting, _, training, value = await begun(running, clients=2)
        fleet, first = await selecting.plan(training, value, 8)
        _, second = await selecting.plan(training, value, 8)
        assert [client.id for client in fleet.offered] == ["a", "b", "c", "d"]
        assert (first.client_ids, len(first.client_ids)) == (second.client_ids, 2)
        assert await running.round(training.id, 1) == value
        with pytest.raises(NotFound):
            await running.system.selections.of_round(training.id, 1)


async def test_a_parameter_that_the_strategy_does_not_have_ends_the_round(database_url: str, tmp_path: Path) -> None:
    """A plugin may have lost it after the training was created."""
    async with plane(tmp_path, database_url, {"a": Adder()}) as running:
        selecting, lease, training, value = await begun(running)
        rules = SelectionConfig(strategy="oort", min_clients=1, max_clients=1, parameters={"speed": 1.0})
        ended = await selecting.select(
            lease, replace(training, config=replace(training.config, selection=rules)), value
        )
        assert ended.status == "abandoned"
        assert "speed" in (ended.failure_reason or "")


@asynccontextmanager
async def waiting(directory: Path, database_url: str) -> AsyncIterator[tuple[Plane, FakeClock, "asyncio.Task[Round]"]]:
    """A round that waits for a second client, for 2 s at most, and is in its first pause of 1 s."""
    clock = FakeClock()
    async with plane(directory, database_url, {"a": Adder()}, clock=clock) as running:
        selecting, lease, training, value = await begun(running, clients=2, round_policy=policy(max_wait_seconds=2.0))
        task = asyncio.create_task(selecting.select(lease, training, value))
        await until(lambda: pauses(clock))
        assert (await running.round(training.id, 1)).status == "selecting"
        yield running, clock, task


async def pauses(clock: FakeClock) -> bool:
    return clock.is_slept_on(1.0)


async def test_a_round_waits_until_enough_clients_are_registered(database_url: str, tmp_path: Path) -> None:
    async with waiting(tmp_path, database_url) as (running, clock, task):
        await running.system.clients.register([("b", profile())])
        began = clock.now()
        clock.advance(1.0)
        planned = await task
        assert set(statuses(planned)) == {"a", "b"}
        assert planned.waited_seconds == clock.now() - began
        assert planned.deadline_at == planned.started_at + 600.0 + planned.waited_seconds


async def test_a_round_that_has_waited_for_its_longest_is_abandoned(database_url: str, tmp_path: Path) -> None:
    async with waiting(tmp_path, database_url) as (_, clock, task):
        clock.advance(2.0)
        ended = await task
        assert ended.status == "abandoned"
        assert (ended.failure_reason or "").endswith("; the round waited for 2 s")


async def test_an_owner_that_was_overtaken_plans_nothing(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}) as running:
        selecting, lease, training, value = await begun(running)
        async with running.system.db.begin() as tx:
            await tx.leases.revoke(training.id)
        with pytest.raises(Fenced):
            await selecting.select(lease, training, value)
        assert await running.round(training.id, 1) == value
