"""The database's clock is set back or forward, under a process that runs and across a restart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from app.clock import SystemClock
from app.services.running.steps import Steps
from app.services.system import System
from app.store.database import Database
from app.store.leases import Lease
from app.store.tables import trainings
from tests.planes import Adder, Plane, plane, until
from tests.services.fakes import profile

HOUR = 3600.0
LONG: dict[str, Any] = {"enabled": False, "tick_seconds": 0.05, "lease_seconds": 600}


def set_clock(system: System, seconds: float) -> None:
    """Move what the database says about the time."""
    for db in {system.db, system.coordinator_db}:
        db.clock = db.clock + seconds


async def seconds_left(db: Database, name: str) -> float:
    async with db.read() as tx:
        column = getattr(trainings.c, name)
        return float((await tx.connection.execute(select(column - db.clock))).scalar_one())


async def in_mid_round(one: Plane) -> str:
    trainer = one.trainers["a"]
    trainer.open.clear()
    training_id = await one.create(max_rounds=1)
    await one.system.trainings.start(training_id)
    await one.drive()
    await until(lambda: begun(trainer))
    return training_id


async def begun(trainer: Adder) -> bool:
    return bool(trainer.fitted)


@pytest.mark.parametrize("step", [-HOUR, HOUR], ids=["back", "forward"])
async def test_a_round_goes_on_when_the_clock_is_set_in_the_middle_of_it(
    step: float, database_url: str, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with plane(tmp_path, database_url, {"a": Adder()}, coordinator=LONG) as one:
            training_id = await in_mid_round(one)
            before = await one.round(training_id, 1)
            set_clock(one.system, step)
            await one.drive()
            assert (await one.system.trainings.get(training_id)).fence == 2, "the lease of before is over"
            await until(lambda: moved(one, training_id, before.deadline_at))
            round_ = await one.round(training_id, 1)
            assert round_.deadline_at - before.deadline_at == pytest.approx(step, abs=60)
            one.trainers["a"].open.set()
            round_ = await one.ended(training_id, 1)
            (part,) = round_.participations
            assert (round_.status, part.status, part.attempts) == ("completed", "received", 1)
    assert [entry["seconds"] for entry in logs if entry["event"] == "the clock of the database was changed"] == [
        pytest.approx(step, abs=5)
    ]
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


async def moved(one: Plane, training_id: str, deadline: float) -> bool:
    return (await one.round(training_id, 1)).deadline_at != deadline


async def test_a_restart_after_the_clock_was_set_back_goes_on_at_once(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}, coordinator=LONG) as first:
        training_id = await in_mid_round(first)
        async with plane(
            tmp_path / "second", database_url, first.trainers, host=first.host, register=False, coordinator=LONG,
            models={"url": f"file://{tmp_path}/models"},
        ) as second:  # fmt: skip
            set_clock(second.system, -HOUR)
            assert await seconds_left(second.system.coordinator_db, "lease_until") > HOUR
            await second.system.timekeeper.tick()
            await second.drive()
            assert (await second.system.trainings.get(training_id)).fence == 2
            first.trainers["a"].open.set()
            round_ = await second.ended(training_id, 1)
            assert round_.status == "completed"


async def test_a_pause_before_a_round_is_not_an_hour_longer(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}, coordinator=LONG) as one:
        training_id = await one.create(max_rounds=1)
        await one.system.trainings.start(training_id)
        async with one.system.db.begin() as tx:
            training = await tx.trainings.get(training_id)
            await tx.trainings.put(replace(training, next_round_at=one.system.coordinator._clock.now() + HOUR))
        await one.drive()
        assert (await one.ended(training_id, 1)).status == "completed"


async def test_a_process_that_only_answers_calls_keeps_the_time_of_the_database(
    database_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}, register=False) as one:
        clock = one.system.timekeeper._clock
        set_clock(one.system, -HOUR)
        await until(lambda: agrees(one, clock))
        await one.system.clients.register([("b", profile())])
        async with one.system.db.read() as tx:
            assert (await tx.clients.get("b")).created_at == pytest.approx(await tx.now(), abs=5)


async def agrees(one: Plane, clock: Any) -> bool:
    async with one.system.db.read() as tx:
        return bool(abs(clock.now() - await tx.now()) < 1)


async def test_a_start_takes_the_time_over_before_anything_is_written(database_url: str, tmp_path: Path) -> None:
    clock = SystemClock()
    clock.adopt(clock.now() + HOUR)
    async with plane(tmp_path, database_url, {}, clock=clock) as one, one.system.db.read() as tx:
        assert clock.now() == pytest.approx(await tx.now(), abs=5)


def test_a_step_is_owed_once_and_only_forward() -> None:
    steps, lease = Steps(15.0), Lease("t", "a", 1)
    assert not steps.notice(HOUR), "the difference of two machines"
    assert steps.owed(lease) == 0
    assert not steps.notice(0.5)
    assert steps.notice(HOUR)
    assert [steps.owed(lease), steps.owed(lease)] == [HOUR, 0]
    assert steps.owed(Lease("u", "a", 1)) == HOUR
    assert steps.notice(-HOUR)
    assert steps.owed(lease) == 0
    assert steps.notice(60.0)
    assert steps.owed(lease) == 60.0
