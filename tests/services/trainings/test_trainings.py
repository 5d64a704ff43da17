"""What a user may ask of a training, and that each way to end a round is the same ending."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from app.domain.breaker import Breaker
from app.domain.errors import StateForbids
from app.domain.rounds import Round
from app.domain.trainings import Training, TrainingConfig
from tests.clocks import FakeClock
from tests.planes import Adder, Plane, plane, policy, until
from tests.services.courses import events, has_status, is_idle


async def test_a_cancelled_round_gives_the_permit_of_a_half_open_breaker_back(
    database_url: str, tmp_path: Path
) -> None:
    trainer, clock = Adder(1.0), FakeClock()
    async with plane(tmp_path, database_url, {"a": trainer}, clock=clock) as running:
        training_id = await running.create()
        await running.run_round(training_id)
        before = await running.system.clients.get("a")
        tripped = Breaker(state="open", consecutive_failures=3, openings=1, retry_at=clock.now())
        async with running.system.db.begin() as tx:
            await tx.clients.put(replace(before, breaker=tripped))
        trainer.open.clear()
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: _trains(trainer, 2))
        assert (await running.system.breakers.get("a")).admit(clock.now(), 60.0) is None, "the round has its permit"

        await running.system.trainings.cancel(training_id)
        after = await running.system.clients.get("a")
        assert after.breaker.admit(clock.now(), 60.0) is not None
        assert after.measured == before.measured, "the client is not at fault"


async def test_a_cancelled_round_ends_as_every_round_does(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(1.0)}
    async with plane(tmp_path, database_url, trainers) as running:
        metrics = running.system.metrics.registry.get_sample_value
        training_id = await running.create(round_policy=policy())
        first = await running.run_round(training_id)
        assert first.fairness == 1.0
        trainers["b"].open.clear()
        await running.system.trainings.start(training_id)
        await until(lambda: _driven_to_an_update(running, training_id, 2))
        await running.system.trainings.cancel(training_id)
        await until(lambda: is_idle(running))

        round_ = await running.round(training_id, 2)
        assert (round_.status, round_.failure_reason) == ("abandoned", "the training was cancelled")
        assert round_.fairness == pytest.approx(0.9)  # (2 + 1)² / (2 · (2² + 1²))
        assert metrics("federated_rounds_total", {"outcome": "abandoned"}) == 1.0
        assert metrics("federated_participations_total", {"outcome": "skipped"}) == 1.0
        told_of = {event.type: event for event in await events(running, training_id)}
        assert told_of["round.abandoned"].data.keys() == told_of["round.completed"].data.keys()
        assert told_of["round.abandoned"].data["reason"] == "the training was cancelled"
        assert told_of["training.cancelled"].data["reason"] == "cancelled"


async def test_a_training_whose_only_round_was_abandoned_has_failed(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}) as running:
        training_id = await running.create(clients=2, max_rounds=1, round_policy=policy(max_wait_seconds=0.0))
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_status(running, training_id, "failed"))
        training = await running.system.trainings.get(training_id)
        assert training.stop_reason == "max_rounds"
        assert str(training.stop_detail).startswith("0 of 1 rounds completed; the last was abandoned: 1 of 1 clients")

        told = len(await events(running, training_id))
        with pytest.raises(StateForbids, match="max_rounds allows 1: extend it, or run single"):
            await running.system.trainings.start(training_id)
        assert await running.system.trainings.get(training_id) == training
        assert len(await events(running, training_id)) == told


async def test_a_paused_training_without_a_round_left_ends_when_it_is_started(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        training_id = await running.create(max_rounds=1)
        await running.run_round(training_id)
        ended = await running.system.trainings.start(training_id)
        assert (ended.status, ended.stop_reason) == ("completed", "max_rounds")


async def test_a_completed_training_says_what_it_achieved(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}) as running:
        training_id = await running.create(max_rounds=2)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_status(running, training_id, "completed"))
        training = await running.system.trainings.get(training_id)
        assert (
            training.stop_detail
            == "2 of 2 rounds completed; the best accuracy was 0.2 in round 2; the target was accuracy of 1 or more"
        )


@pytest.mark.parametrize("how", ["start", "resume", "single round"])
async def test_a_failed_training_can_be_resumed(how: Any, database_url: str, tmp_path: Path) -> None:
    trainer = Adder(1.0)
    trainer.problem = RuntimeError("broken for now")
    async with plane(tmp_path, database_url, {"a": trainer}) as running:
        training_id = await running.create(max_rounds=3, round_policy=policy(max_failed_rounds=1))
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_status(running, training_id, "failed"))
        await until(lambda: is_idle(running))
        trainer.problem = None
        await running.system.breakers.reset("a")

        if how == "single round":
            round_ = await running.run_round(training_id)
            assert (round_.number, round_.status) == (2, "completed")
            training = await running.system.trainings.get(training_id)
            assert (training.status, training.stop_reason, training.failed_in_row) == ("paused", None, 0)
            return
        training = await running.system.trainings.start(training_id, how)
        assert (training.status, training.stop_reason, training.stop_detail) == ("running", None, None)
        await running.drive()
        await until(lambda: has_status(running, training_id, "completed"))
        training = await running.system.trainings.get(training_id)
        assert str(training.stop_detail).startswith("2 of 3 rounds completed; the best accuracy was 0.2")


async def _trains(trainer: Adder, times: int) -> bool:
    return len(trainer.fitted) == times


async def _driven_to_an_update(running: Plane, training_id: str, number: int) -> bool:
    await running.drive()  # more than once: the lease of a round before may just be on its way back
    return await _has_received_in(running, training_id, number)


async def _has_received_in(running: Plane, training_id: str, number: int) -> bool:
    rounds = (await running.system.trainings.rounds(training_id, limit=1, before=number + 1)).items
    return bool(rounds) and rounds[0].number == number and _received(rounds[0]) == 1


def _received(round_: Round) -> int:
    return sum(part.status == "received" for part in round_.participations)


@pytest.mark.parametrize("ask", ["run_round", "start"])
async def test_a_call_that_is_refused_does_not_read_the_participations_of_a_crowd(
    ask: str, database_url: str, tmp_path: Path
) -> None:
    trainer = Adder(1.0)
    async with plane(tmp_path, database_url, {"a": trainer}) as running:
        training_id = await running.create()
        trainer.open.clear()
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: _trains(trainer, 1))
        read: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            read.append(statement)

        engine = running.system.db._writers.sync_engine
        event.listen(engine, "before_cursor_execute", note)
        with pytest.raises(StateForbids):
            await getattr(running.system.trainings, ask)(training_id)
        event.remove(engine, "before_cursor_execute", note)
        assert any("FROM rounds" in statement for statement in read)
        assert not any("FROM participations" in statement for statement in read)
        trainer.open.set()


async def test_trainings_come_newest_first(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with plane(tmp_path, database_url, {"a": Adder()}, clock=clock) as running:
        made = []
        for _ in range(3):
            made.append(await running.create())
            clock.advance(1.0)
        newest = await running.system.trainings.page(limit=2, after=None)
        assert ([one.id for one in newest.items], newest.more) == ([made[2], made[1]], True)
        last = newest.items[-1]
        rest = await running.system.trainings.page(limit=2, after=(last.created_at, last.id))
        assert ([one.id for one in rest.items], rest.more) == ([made[0]], False)


async def test_a_paused_training_takes_the_lease_from_its_owner_and_goes_on_where_it_stood(
    database_url: str, tmp_path: Path
) -> None:
    trainer = Adder(1.0)
    trainer.open.clear()
    async with plane(tmp_path, database_url, {"a": trainer}) as running:
        training_id = await running.create(max_rounds=1)
        with pytest.raises(StateForbids, match="created"):
            await running.system.trainings.pause(training_id)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: _trains(trainer, 1))
        before = await running.system.trainings.get(training_id)
        paused = await running.system.trainings.pause(training_id)
        assert (paused.status, paused.current_round, paused.progress) == ("paused", 1, None)
        assert paused.paused_at is not None
        assert (await running.system.trainings.get(training_id)).fence == before.fence + 1
        await until(lambda: is_idle(running))
        assert (await running.round(training_id, 1)).status == "training"

        trainer.open.set()
        await running.system.trainings.start(training_id, "resume")
        await running.drive()
        assert (await running.ended(training_id, 1)).status == "completed"
        assert set(trainer.fitted.values()) == {1}, "the agent kept its task"
        kinds = [event.type for event in await events(running, training_id)]
        assert kinds.count("training.paused") == kinds.count("training.resumed") == 1


async def test_a_training_is_changed_while_it_rests_and_each_field_is_told(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}) as running:
        training_id = await running.create(max_rounds=1)
        changed = await running.system.trainings.change(
            training_id, lambda before: replace(before.config, max_rounds=5)
        )
        assert changed.config.max_rounds == 5
        assert (await running.system.trainings.get(training_id)).config == changed.config
        assert [event.type for event in await events(running, training_id)].count("training.changed") == 1

        def refuse(_: Training) -> TrainingConfig:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await running.system.trainings.change(training_id, refuse)
        await running.system.trainings.start(training_id)
        with pytest.raises(StateForbids, match="running"):
            await running.system.trainings.change(training_id, lambda before: before.config)
        assert (await running.system.trainings.get(training_id)).config == changed.config
