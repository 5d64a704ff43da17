"""Trouble of the server's own is seen at the training, in the metrics and in the checks, and it ends."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from app.clock import Clock
from app.domain.patience import MAX_TAKEOVERS
from app.domain.rounds import Round
from app.services.readiness import readiness
from app.services.rounds.files import RoundFiles
from app.store import spools
from app.store.database import Database
from app.store.tables import trainings
from tests.clocks import FakeClock, Sleeping
from tests.planes import Adder, Plane, plane, policy, until
from tests.services.courses import events, has_progress, has_status, is_driven_to_its_end, is_idle

STALLED = "training.stalled"
LONG = {"enabled": False, "tick_seconds": 0.05, "lease_seconds": 600}


@asynccontextmanager
async def with_a_blocked_spool(
    directory: Path, database_url: str, *, clock: Clock | None = None, **rules: Any
) -> AsyncIterator[tuple[Plane, str, Path]]:
    """A plane whose training has a model and is running, and what is in the way of its next round's spool."""
    async with AsyncExitStack() as stack:
        in_files = stack.enter_context(pytest.MonkeyPatch.context())
        in_files.setattr(spools, "SMALL_BYTES", -1)  # also small updates
        running = await stack.enter_async_context(
            plane(directory, database_url, {"a": Adder(1.0)}, clock=clock, coordinator=LONG)
        )
        training_id = await running.create(max_rounds=2, round_policy=policy(max_failed_rounds=1, **rules))
        await running.run_round(training_id)
        await until(lambda: is_idle(running))  # or the lease may still be on its way back
        spool = directory / "spool"
        shutil.rmtree(spool)
        spool.write_text("in the way of the directory")
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_progress(running, training_id, "stalled"))
        yield running, training_id, spool


async def test_a_stalled_training_says_since_when_and_why(database_url: str, tmp_path: Path) -> None:
    async with with_a_blocked_spool(tmp_path, database_url) as (running, training_id, spool):
        training = await running.system.trainings.get(training_id)
        assert training.progress is not None
        assert str(training.progress.reason).startswith("StoreUnavailable: [Errno 20] Not a directory: ")
        gauge = running.system.metrics.registry.get_sample_value
        assert gauge("federated_trainings_held_up", {"state": "stalled"}) == 1
        assert gauge("federated_training_stalled_seconds", {"training": training_id, "state": "stalled"}) is not None
        storage = (await readiness(running.system))["storage"]
        assert storage.startswith("1 trainings have made no progress for ")
        assert storage.endswith(" s: StoreUnavailable: Not a directory"), "strangers may read it, so it holds no path"

        spool.unlink()
        await until(lambda: has_status(running, training_id, "completed"))
        await until(lambda: is_idle(running))
        told = [event.type for event in await events(running, training_id)]
        assert (told.count("training.stalled"), told.count("training.moving")) == (1, 1)
        assert gauge("federated_trainings_held_up", {"state": "stalled"}) == 0
        assert (await readiness(running.system))["storage"] == "ok"


async def test_a_round_that_stands_still_for_too_long_is_given_up(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock(sleeping=Sleeping.LASTS)
    rules = {"deadline_seconds": 10.0, "max_wait_seconds": 1000.0}
    async with with_a_blocked_spool(tmp_path, database_url, clock=clock, **rules) as (running, training_id, _):
        clock.advance(999.0)
        round_ = await running.round(training_id, 2)
        assert round_.status == "training"
        clock.advance(500.0)
        await until(lambda: has_status(running, training_id, "failed"))
        round_ = await running.round(training_id, 2)
        assert round_.status == "abandoned"
        assert str(round_.failure_reason).startswith("the round made no progress for 1")
        assert "Not a directory" in str(round_.failure_reason)
        assert round_.ended_at is not None
        assert round_.deadline_at <= round_.ended_at + 10.0, "each try moves it by its own length at most"
        (part,) = round_.participations
        assert part.status == "skipped"
        client = await running.system.clients.get("a")
        assert client.measured.reliability == pytest.approx(0.93), "the client is not at fault"


async def test_an_error_that_nothing_foresaw_gives_the_round_up_after_three_tries(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went from one owner to the next for ever."""
    tries = _raising(monkeypatch, "aggregate", KeyError("x\n\x1b[31m"))
    with capture_logs() as logs:
        async with plane(tmp_path, database_url, {"a": Adder(1.0)}, coordinator=LONG) as running:
            training_id = await running.create(round_policy=policy(max_failed_rounds=1))
            await running.system.trainings.start(training_id)
            await running.drive()
            await until(lambda: has_status(running, training_id, "failed"))
            training = await running.system.trainings.get(training_id)
    assert len(tries) == 3
    assert training.fence == 1, "its owner kept it"
    reason = "the server failed 3 times while the round was aggregating: KeyError: "
    assert str(training.stop_detail).startswith(reason)
    assert str(training.stop_detail).isprintable()
    assert [entry["event"] for entry in logs].count("driving the training failed") == 3


async def test_tries_of_owners_before_count(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = _raising(monkeypatch, "aggregate", KeyError("x"))
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}, coordinator=LONG) as running:
        training_id = await running.create(round_policy=policy(max_failed_rounds=1))
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: _tried(tries, 1))
        async with running.system.db.begin() as tx:
            await tx.leases.revoke(training_id)
        await until(lambda: is_idle(running))
        await running.drive()
        await until(lambda: has_status(running, training_id, "failed"))
    assert len(tries) <= 4


async def test_a_round_that_costs_server_after_server_is_given_up(database_url: str, tmp_path: Path) -> None:
    trainer = Adder(1.0)
    trainer.open.clear()
    async with plane(tmp_path, database_url, {"a": trainer}, coordinator=LONG) as running:
        training_id = await running.create(round_policy=policy(max_failed_rounds=1))
        await running.system.trainings.start(training_id)
        for lost in range(MAX_TAKEOVERS):
            await running.drive()
            await until(partial(_was_taken_over, running, training_id, lost))
            await until(lambda: _was_asked(trainer))
            await _lose_the_owner(running, training_id)
        await running.drive()
        await until(lambda: has_status(running, training_id, "failed"))
        round_ = await running.round(training_id, 1)
    assert round_.failure_reason == "10 servers in a row crashed or hung while the round was training"
    assert set(trainer.fitted.values()) == {1}, "up to then, each owner asked for the same task"


@pytest.mark.untraced
async def test_a_lease_that_runs_out_counts_as_a_takeover_and_is_seen(database_url: str, tmp_path: Path) -> None:
    """Such an owner gave its lease back, so that a round that cost one lease after the other went on for ever."""
    trainer = Adder(1.0)
    trainer.open.clear()
    short = LONG | {"lease_seconds": 1}
    async with plane(tmp_path, database_url, {"a": trainer}, coordinator=short) as running:
        training_id = await running.create(max_rounds=1)
        await running.system.trainings.start(training_id)
        for lost in range(2):  # a busy machine may lose more
            await until(partial(_was_taken_over_often, running, training_id, lost))
            async with running.system.coordinator._db.begin() as tx:  # so that nothing can be renewed
                await tx.trainings.get(training_id, for_update=True)
                await until(lambda: is_idle(running))
        await until(partial(_was_taken_over_often, running, training_id, 2))
        assert await has_progress(running, training_id, "stalled")
        trainer.open.set()
        await until(partial(is_driven_to_its_end, running, training_id))
        reasons = [event.data["reason"] for event in await events(running, training_id) if event.type == STALLED]
    assert reasons[0] == "2 servers in a row crashed or hung while the round was training"


async def test_a_step_forward_forgets_the_owners_that_were_lost(sqlite_url: str, tmp_path: Path) -> None:
    trainer = Adder(1.0)
    trainer.open.clear()
    async with plane(tmp_path, sqlite_url, {"a": trainer}, coordinator=LONG) as running:
        training_id = await running.create(max_rounds=1)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(partial(_was_taken_over, running, training_id, 0))
        await _lose_the_owner(running, training_id)
        await running.drive()
        await until(partial(_was_taken_over, running, training_id, 1))
        trainer.open.set()
        assert (await running.ended(training_id, 1)).takeovers == 0


async def test_an_evaluation_that_cannot_be_done_leaves_the_model(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mean that the database refused kept the training `evaluating` for ever."""
    _raising(monkeypatch, "measurement", ZeroDivisionError("of ours"))
    async with plane(tmp_path, database_url, {"a": Adder(1.0)}, coordinator=LONG) as running:
        training_id = await running.create()
        round_ = await running.run_round(training_id)
        assert (round_.status, round_.average_accuracy) == ("completed", None)
        assert round_.failure_reason == (
            "the server failed 3 times while the round was evaluating: ZeroDivisionError: of ours"
        )
        assert await running.weight(training_id) == 1.0


async def test_a_database_that_cannot_be_written_shows_in_the_metrics(sqlite_url: str, tmp_path: Path) -> None:
    """The training's row cannot say it then."""
    other = Database(sqlite_url)
    with capture_logs() as logs:
        async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}, coordinator=LONG) as running:
            training_id = await running.create()
            await running.run_round(training_id)
            await running.system.trainings.start(training_id)
            async with other.begin() as tx:
                await tx.connection.exec_driver_sql("ALTER TABLE rounds RENAME TO out_of_reach")
            await running.drive()
            gauge = running.system.metrics.registry.get_sample_value
            await until(lambda: _counts(gauge, 1))
            async with other.begin() as tx:
                await tx.connection.exec_driver_sql("ALTER TABLE out_of_reach RENAME TO rounds")
            await until(lambda: _counts(gauge, 0))
    await other.dispose()
    assert "interrupted" in {entry["event"] for entry in logs}


async def _was_taken_over_often(running: Plane, training_id: str, times: int) -> bool:
    await running.drive()
    rounds = (await running.system.trainings.rounds(training_id, limit=1, before=None)).items
    return bool(rounds) and (rounds[0].status, rounds[0].takeovers >= times) == ("training", True)


async def _was_taken_over(running: Plane, training_id: str, times: int) -> bool:
    rounds = (await running.system.trainings.rounds(training_id, limit=1, before=None)).items
    return bool(rounds) and (rounds[0].status, rounds[0].takeovers) == ("training", times)


async def _lose_the_owner(running: Plane, training_id: str) -> None:
    """The owner's lease ends without its doing, and another process will find its name there."""
    async with running.system.db.begin() as tx:
        fence = trainings.c.fence + 1
        of_it = update(trainings).where(trainings.c.id == training_id)
        await tx.connection.execute(of_it.values(owner="lost", lease_until=0.0, fence=fence))
    await until(lambda: is_idle(running))


async def _counts(gauge: Any, stalled: int) -> bool:
    return bool(gauge("federated_trainings_held_up", {"state": "stalled"}) == stalled)


async def _tried(tries: list[Round], times: int) -> bool:
    return len(tries) >= times


def _raising(monkeypatch: pytest.MonkeyPatch, method: str, problem: Exception) -> list[Any]:
    """Plant a bug in a step of the server, and note how often it is met."""
    met: list[Any] = []

    def broken(*arguments: Any) -> None:
        met.append(arguments)
        raise problem

    monkeypatch.setattr(RoundFiles, method, broken)
    return met


async def _was_asked(trainer: Adder) -> bool:
    return bool(trainer.fitted)
