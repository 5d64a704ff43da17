"""Carried tasks that cannot go on, which end before the next round is planned and hold no round up.

Covers: app.services.rounds.open_tasks
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.domain.carrying import BASE_GONE, CARRIES_NO_MORE, DOWN, TRAINING_ENDED
from app.domain.clients import ClientStatus
from app.services.rounds.open_tasks import OpenTasks
from app.services.rounds.phases import Phases
from app.services.rounds.settling import Settling
from app.store.leases import Lease
from tests.clocks import FakeClock
from tests.planes import Adder, Plane, plane, policy, until
from tests.services.courses import has_received, has_status, parts, statuses
from tests.services.rounds.test_carrying import any_of, carrying, four, has_forgotten, one_late


async def become(running: Plane, client_id: str, status: ClientStatus) -> None:
    async with running.system.db.begin() as tx:
        (client,) = await tx.clients.lock([client_id])
        await tx.clients.put(replace(client, status=status))


async def open_tasks(running: Plane, training_id: str) -> list[str]:
    async with running.system.db.read() as tx:
        return [one.part.client_id for one in await tx.carried.open(training_id)]


async def test_rounds_that_are_never_planned_make_a_task_no_older(database_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying(max_wait_seconds=0.0, max_staleness=1))
        await one_late(running, clock, training_id)
        trainers["d"].open.set()
        await become(running, "c", "down")
        second = await running.run_round(training_id)
        assert (second.status, second.participations) == ("abandoned", ())
        await become(running, "c", "healthy")
        third = await running.run_round(training_id)
        assert statuses(third) == dict.fromkeys("abcd", "received")
        assert (parts(third)["d"].begun_in, parts(third)["d"].staleness) == (1, 1)
        assert (await running.system.clients.get("d")).measured.reliability == 0.93  # it is not to blame


async def test_an_owner_that_knows_of_no_tasks_reads_none(sqlite_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, sqlite_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying())
        await one_late(running, clock, training_id)
        tasks, lease = running.system.coordinator._engine._selecting._open_tasks, Lease(training_id, "us", 1)
        training = await running.system.trainings.get(training_id)
        skipping = replace(training, config=replace(training.config, round_policy=policy()))
        async with running.system.db.read() as tx:
            staying, _ = await tasks.divided(tx, training, lease)
            _, leaving = await tasks.divided(tx, skipping, lease)
        assert [one.part.client_id for one in staying] == [left.one.part.client_id for left in leaving] == ["d"]
        await tasks.end(lease, [], [])
        async with running.system.db.read() as tx:
            assert await tasks.divided(tx, skipping, lease) == ([], [])
            assert await tasks.divided(tx, training, lease) == (staying, [])
            assert await tasks.divided(tx, skipping, None) == ([], leaving)


async def test_the_task_of_a_client_that_is_down_ends_and_its_place_is_free(database_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(selection=any_of(3, most=4), **carrying())
        await one_late(running, clock, training_id)
        await become(running, "d", "down")
        second = await running.run_round(training_id)
        assert (statuses(second), second.goal) == (dict.fromkeys("abc", "received"), 3)
        part = parts(await running.round(training_id, 1))["d"]
        assert (part.status, part.reason, part.carried_to) == ("skipped", DOWN, None)
        assert await open_tasks(running, training_id) == []
        await until(lambda: has_forgotten(running, "d"))


async def test_a_round_goes_on_without_a_carried_task_that_never_ends(database_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), {name: Adder(1.0) for name in "ab"}
    trainers["b"].open.clear()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying(quorum=0.5))
        await one_late(running, clock, training_id, late="b")
        whole = policy(quorum=1.0, deadline_seconds=5.0, stragglers="carry")
        await running.system.trainings.change(training_id, lambda one: replace(one.config, round_policy=whole))
        second = await one_late(running, clock, training_id, 2, late="b")  # until its deadline
        assert (second.status, statuses(second)) == ("completed", {"a": "received", "b": "carried"})


async def test_an_update_counts_that_was_stored_at_the_deadline_before_its_job_has_ended(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = Settling.settle

    async def settle_and_stay(self: Settling, *given: Any) -> bool:
        written = await settle(self, *given)
        await asyncio.Event().wait()  # until the round ends all jobs
        return written

    clock, trainers = FakeClock(), {name: Adder(1.0) for name in "ab"}
    trainers["b"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying(quorum=0.5, deadline_seconds=5.0))
        with monkeypatch.context() as patched:
            patched.setattr(Settling, "settle", settle_and_stay)
            first = await one_late(running, clock, training_id, late="b")
        assert (first.status, statuses(first)) == ("completed", {"a": "received", "b": "carried"})


async def test_before_its_deadline_a_round_goes_on_early_with_a_quorum_of_all_tasks_only(
    database_url: str, tmp_path: Path
) -> None:
    clock, trainers = FakeClock(), {name: Adder(1.0) for name in "ab"}
    trainers["b"].open.clear()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying(quorum=0.5))
        await one_late(running, clock, training_id, late="b")
        impatient = policy(quorum=1.0, grace_seconds=0.0, stragglers="carry")
        await running.system.trainings.change(training_id, lambda one: replace(one.config, round_policy=impatient))
        await running.system.trainings.run_round(training_id)

        async def has_one() -> bool:
            await running.drive()
            return await has_received(running, training_id, 1, 2)

        await until(has_one)
        trainers["b"].open.set()  # the one selected client has answered, which would be enough at the deadline
        assert statuses(await running.ended(training_id, 2)) == {"a": "received", "b": "received"}


async def test_a_task_ends_even_if_the_plan_has_to_wait_for_clients(database_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(selection=any_of(3, most=4), **carrying())
        await one_late(running, clock, training_id)

        def skipping(training: Any) -> Any:
            return replace(training.config, selection=any_of(4), round_policy=policy(quorum=0.75, grace_seconds=5.0))

        await running.system.trainings.change(training_id, skipping)
        await become(running, "c", "down")
        await running.system.trainings.run_round(training_id)

        async def has_waited() -> bool:
            await running.drive()
            return (await running.round(training_id, 2)).waiting_since is not None

        await until(has_waited)
        part = parts(await running.round(training_id, 1))["d"]
        assert (part.status, part.reason) == ("skipped", CARRIES_NO_MORE)
        await until(lambda: has_forgotten(running, "d"))
        trainers["d"].open.set()
        await become(running, "c", "healthy")

        async def is_over() -> bool:
            clock.advance(5.0)
            return await has_status(running, training_id, "paused")

        await until(is_over)
        assert statuses(await running.round(training_id, 2)) == dict.fromkeys("abcd", "received")


async def test_a_task_whose_model_is_gone_ends_and_its_round_goes_on(database_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying())
        first = await one_late(running, clock, training_id)
        await one_late(running, clock, training_id, 2)  # the rule needs the model before that of the round
        (tmp_path / "models" / (first.base_model or "")).unlink()
        third = await running.run_round(training_id)
        assert third.status == "completed"
        assert statuses(third) == dict.fromkeys("abc", "received") | {"d": "skipped"}
        assert parts(third)["d"].reason == BASE_GONE
        assert (await running.system.clients.get("d")).measured.reliability is None
        await until(lambda: has_forgotten(running, "d"))
        trainers["d"].open.set()
        assert statuses(await running.run_round(training_id)) == dict.fromkeys("abcd", "received")


async def test_a_round_that_is_given_up_carries_nothing_on(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying())
        await one_late(running, clock, training_id)

        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a bug")

        await running.system.trainings.run_round(training_id)
        with monkeypatch.context() as patched:
            patched.setattr(Phases, "of_carried", broken)

            async def is_over() -> bool:
                await running.drive()
                clock.advance(5.0)
                return await has_status(running, training_id, "paused")

            await until(is_over)
        second = await running.round(training_id, 2)
        assert (second.status, parts(second)["d"].status) == ("abandoned", "skipped")
        assert await open_tasks(running, training_id) == []
        await until(lambda: has_forgotten(running, "d"))


async def test_agents_are_told_if_the_last_round_is_given_up_before_it_is_planned(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(max_rounds=2, **carrying())
        await one_late(running, clock, training_id)

        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(OpenTasks, "divided", broken)
        await running.system.trainings.start(training_id)

        async def is_over() -> bool:
            await running.drive()
            clock.advance(5.0)
            return not await has_status(running, training_id, "running")

        await until(is_over)
        part = parts(await running.round(training_id, 1))["d"]
        assert (part.status, part.reason) == ("skipped", TRAINING_ENDED)
        await until(lambda: has_forgotten(running, "d"))
