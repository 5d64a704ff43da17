"""Rounds that wait for clients that can be selected, and what it costs that they do."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.domain.clients import ClientStatus
from app.domain.progress import Progress
from app.services.rounds.waiting import COUNT_SECONDS, LONGEST_PAUSE_SECONDS, Availability
from app.store.database import Database
from tests.clocks import FakeClock
from tests.planes import Adder, Plane, plane, policy, until
from tests.services.courses import events, has_progress, has_status, is_idle

SHORTAGE = "0 of 1 clients can be selected"


async def test_a_training_waits_while_its_fleet_is_away(database_url: str, tmp_path: Path) -> None:
    """Four seconds without agents ended it: three abandoned rounds, and then `failed`."""
    clock = FakeClock()
    async with plane(tmp_path, database_url, {"a": Adder()}, clock=clock) as running:
        await _set_status(running, "a", "down")
        rules = policy(deadline_seconds=60.0, max_failed_rounds=1)
        training_id = await running.create(max_rounds=1, round_policy=rules)
        await running.system.trainings.start(training_id)
        began = clock.now()
        await running.drive()
        await until(lambda: has_progress(running, training_id, "waiting"))
        training = await running.system.trainings.get(training_id)
        assert training.progress is not None
        assert training.progress.since == began
        assert str(training.progress.reason).startswith(SHORTAGE)
        for _ in range(10):  # far longer than the round's deadline
            await _let_go_by(clock, 100.0)
        round_ = await running.round(training_id, 1)
        assert (round_.status, round_.waiting_since) == ("selecting", began)

        await _set_status(running, "a", "healthy")
        clock.advance(LONGEST_PAUSE_SECONDS)
        await until(lambda: has_status(running, training_id, "completed"))
        round_ = await running.round(training_id, 1)
        assert round_.waiting_since is None
        assert round_.waited_seconds == pytest.approx(1000.0 + LONGEST_PAUSE_SECONDS)
        assert round_.deadline_at == pytest.approx(round_.started_at + 60.0 + round_.waited_seconds)
        told = [event.type for event in await events(running, training_id)]
        assert (told.count("training.waiting"), told.count("training.moving")) == (1, 1)


async def test_a_round_that_has_waited_for_its_longest_is_abandoned(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with plane(tmp_path, database_url, {"a": Adder()}, clock=clock) as running:
        await _set_status(running, "a", "down")
        training_id = await running.create(round_policy=policy(max_failed_rounds=1, max_wait_seconds=30.0))
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_progress(running, training_id, "waiting"))
        for _ in range(8):
            await _let_go_by(clock, 5.0)
        await until(lambda: has_status(running, training_id, "failed"))
        round_ = await running.round(training_id, 1)
        assert str(round_.failure_reason).startswith(SHORTAGE)
        assert str(round_.failure_reason).endswith("the round waited for 30 s")
        assert "a: its status is down: the server last heard from it at " in str(round_.failure_reason)
        selection = await running.system.selections.of_round(training_id, 1)
        assert (selection.strategy, selection.selected) == ("random", ())
        assert [(out.client_id, out.reason.partition(":")[0]) for out in selection.skipped] == [
            ("a", "its status is down")
        ]
        assert (await running.system.trainings.get(training_id)).progress is None


async def test_what_no_waiting_can_mend_is_abandoned_at_once(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        training_id = await running.create()
        training = await running.system.trainings.get(training_id)
        dear = replace(training.config.selection, budget_constraint=1e-9)
        other = await running.create(selection=dear)
        round_ = await running.run_round(other)
        assert round_.status == "abandoned"
        assert str(round_.failure_reason).startswith("budget_constraint is 1e-09 s")


async def test_a_successor_goes_on_with_the_wait_of_its_predecessor(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with plane(tmp_path, database_url, {"a": Adder()}, clock=clock) as running:
        await _set_status(running, "a", "down")
        training_id = await running.create(round_policy=policy(max_failed_rounds=1, max_wait_seconds=100.0))
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_progress(running, training_id, "waiting"))
        began = (await running.round(training_id, 1)).waiting_since
        async with running.system.db.begin() as tx:
            await tx.leases.revoke(training_id)
        await until(lambda: is_idle(running))
        clock.advance(60.0)
        await running.drive()
        for _ in range(10):
            await _let_go_by(clock, 5.0)
        await until(lambda: has_status(running, training_id, "failed"))
        round_ = await running.round(training_id, 1)
        assert round_.ended_at is not None
        assert began is not None
        assert round_.ended_at - began == pytest.approx(100.0, abs=LONGEST_PAUSE_SECONDS + 5.0)


async def test_a_pause_is_no_part_of_the_wait(sqlite_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with plane(tmp_path, sqlite_url, {"a": Adder()}, clock=clock) as running:
        await _set_status(running, "a", "down")
        training_id = await running.create(max_rounds=1, round_policy=policy(deadline_seconds=60.0))
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_progress(running, training_id, "waiting"))
        await running.system.trainings.pause(training_id)
        await until(lambda: is_idle(running))
        assert (await running.system.trainings.get(training_id)).progress is None
        clock.advance(100_000.0)
        await _set_status(running, "a", "healthy")
        training = await running.system.trainings.start(training_id, "resume")
        assert training.progress == Progress("moving", clock.now())
        await running.drive()
        await until(lambda: has_status(running, training_id, "completed"))
        round_ = await running.round(training_id, 1)
        assert round_.waited_seconds == 0.0
        assert round_.deadline_at == pytest.approx(round_.started_at + 60.0 + 100_000.0)


@pytest.mark.untraced
async def test_many_trainings_that_wait_read_the_fleet_once_and_write_nothing(sqlite_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with plane(tmp_path, sqlite_url, {"a": Adder()}, clock=clock) as running:
        await _set_status(running, "a", "down")
        waiting = [await running.create() for _ in range(20)]
        for training_id in waiting:
            await running.system.trainings.start(training_id)
        await running.drive()
        for training_id in waiting:
            await until(partial(has_progress, running, training_id, "waiting"))
        gauge = running.system.metrics.registry.get_sample_value
        assert gauge("federated_trainings_held_up", {"state": "waiting"}) == 20
        labels = {"training": waiting[0], "state": "waiting"}
        assert gauge("federated_training_stalled_seconds", labels) is not None
        before = await _rows(running)
        for _ in range(10):
            await _let_go_by(clock, LONGEST_PAUSE_SECONDS)
        assert await _rows(running) == before

        for training_id in waiting:
            await running.system.trainings.pause(training_id)
        await until(lambda: is_idle(running))
        assert gauge("federated_trainings_held_up", {"state": "waiting"}) == 0
        assert gauge("federated_training_stalled_seconds", labels) is None


class CountingPlanner:
    """Stands in for the planner, and counts how often it reads a fleet."""

    def __init__(self) -> None:
        self.reads = 0

    async def fleet(self, _tx: Any, **_: Any) -> Any:
        self.reads += 1
        await asyncio.sleep(0)
        return type("Fleet", (), {"offered": ("a", "b")})()


async def test_the_count_of_clients_is_shared(sqlite: Database) -> None:
    clock, planner = FakeClock(), CountingPlanner()
    availability = Availability(sqlite, planner, clock)  # type: ignore[arg-type]  # it counts reads alone
    counts = await asyncio.gather(*(availability.count() for _ in range(50)))
    assert (set(counts), planner.reads) == ({2}, 1)
    clock.advance(1000 * COUNT_SECONDS)
    await availability.count()
    assert planner.reads == 2


async def _let_go_by(clock: FakeClock, seconds: float) -> None:
    """Move the clock, and let the tasks that it wakes come to their next pause."""
    clock.advance(seconds)
    for _ in range(20):
        await asyncio.sleep(0.001)


async def _set_status(running: Plane, client_id: str, status: ClientStatus) -> None:
    async with running.system.db.begin() as tx:
        client = await tx.clients.get(client_id)
        await tx.clients.put(replace(client, status=status))


async def _rows(running: Plane) -> Any:
    async with running.system.db.read() as tx:
        trainings = (await tx.trainings.page(limit=100, after=None)).items
        rounds = [(await tx.rounds.page(one.id, limit=10, before=None)).items for one in trainings]
        return trainings, rounds, (await tx.events.after(0, limit=1000)).items
