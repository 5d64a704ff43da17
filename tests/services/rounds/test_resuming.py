"""A coordinator that dies at any point of a round, and its successor, which goes on from what is stored."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from app.agent import Agent
from app.domain.errors import NotFound
from app.domain.trainings import Uploads
from app.services.rounds.engine import RoundEngine
from app.services.rounds.files import RoundFiles
from app.services.rounds.ledger import RoundLedger
from app.store.tables import trainings
from tests.planes import Adder, Plane, plane, until

# Where the process dies: before or after one of the ledger's transactions.
POINTS = [
    (when, name)
    for name in ("initial_model", "planned", "handed_over", "settled", "frozen", "committed", "measured")
    for when in ("before", "after")
]


class Killed(BaseException):
    """Stands for the process's death: nothing after it runs."""


@pytest.mark.parametrize(("when", "name"), POINTS)
async def test_a_round_survives_its_coordinator(
    database_url: str, tmp_path: Path, when: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(3.0)}
    async with plane(tmp_path, database_url, trainers) as first:
        training_id = await first.create(max_rounds=2)
        with monkeypatch.context() as patch:
            died = _die(patch, when, name)
            await first.system.trainings.start(training_id)
            await first.drive()
            await died.wait()
            await asyncio.sleep(0.05)  # what was under way at the agents comes to its end unseen
        await _expire_leases(first)

        async with plane(tmp_path, database_url, trainers, host=first.host, register=False) as second:
            await until(lambda: _driven_to_its_end(second, training_id))

            # (1 + 3) / 2 = 2 a round
            assert [await second.weight(training_id, number) for number in range(3)] == [0.0, 2.0, 4.0]
            rounds = await second.system.trainings.rounds(training_id, limit=10, before=None)
            assert [(value.number, value.status) for value in rounds] == [(2, "completed"), (1, "completed")]
            assert all(part.status == "received" for value in rounds for part in value.participations)
            for trainer in trainers.values():
                assert set(trainer.fitted.values()) == {1}, "no task was trained twice"
                assert len(trainer.fitted) == 2


@pytest.mark.parametrize("lost", [False, True], ids=["same-machine", "another-machine"])
@pytest.mark.parametrize("point", [("after", "settled"), ("after", "frozen"), ("before", "committed")])
async def test_smaller_uploads_survive_their_coordinator(
    database_url: str, tmp_path: Path, point: tuple[str, str], lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = 127 / 128  # of which a float32 holds the 127th part
    trainers = {"a": Adder(step), "b": Adder(3 * step)}
    async with plane(tmp_path, database_url, trainers) as first:
        training_id = await first.create(max_rounds=2, uploads=Uploads(encoding="int8", compression="zstd"))
        with monkeypatch.context() as patch:
            died = _die(patch, *point)
            await first.system.trainings.start(training_id)
            await first.drive()
            await died.wait()
            await asyncio.sleep(0.05)  # what was under way at the agents comes to its end unseen
        await _expire_leases(first)
        if lost:
            shutil.rmtree(tmp_path / "spool")

        async with plane(tmp_path, database_url, trainers, host=first.host, register=False) as second:
            await second.drive()
            await until(lambda: _is_completed(second, training_id))
            assert [await second.weight(training_id, number) for number in range(3)] == [0.0, 2 * step, 4 * step]
            rounds = await second.system.trainings.rounds(training_id, limit=10, before=None)
            assert [(value.number, value.status) for value in rounds] == [(2, "completed"), (1, "completed")]
            assert all(part.status == "received" for value in rounds for part in value.participations)
            assert all(set(trainer.fitted.values()) == {1} for trainer in trainers.values()), "none was trained twice"


@pytest.mark.parametrize(("when", "name"), [("before", "committed"), ("after", "committed"), ("after", "frozen")])
async def test_what_a_server_optimiser_remembers_survives_its_coordinator(
    database_url: str, tmp_path: Path, when: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(3.0)}
    async with plane(tmp_path, database_url, trainers) as first:
        undisturbed = await first.create(aggregation="fedadam")
        for _ in range(3):
            await first.run_round(undisturbed)

        training_id = await first.create(aggregation="fedadam", max_rounds=3)
        await first.run_round(training_id)
        with monkeypatch.context() as patch:
            died = _die(patch, when, name)
            await first.system.trainings.start(training_id)
            await until(lambda: _driven_to_death(first, died))
        await _expire_leases(first)

        async with plane(tmp_path, database_url, trainers, host=first.host, register=False) as second:
            await until(lambda: _driven_to_its_end(second, training_id))
            for number in range(4):
                wanted = (await second.system.models.get(undisturbed, number)).version
                found = (await second.system.models.get(training_id, number)).version
                assert found.sha256 == wanted.sha256
            assert wanted.optimiser_state is not None
            assert found.optimiser_state == wanted.optimiser_state


async def test_a_round_is_abandoned_where_the_server_optimiser_has_lost_its_memory(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}) as running:
        training_id = await running.create(aggregation="fedyogi")
        await running.run_round(training_id)
        state = (await running.system.models.get(training_id, 1)).version.optimiser_state
        assert state is not None
        (running.system.settings.model_directory / state).unlink()
        value = await running.run_round(training_id)
        reason = f"the server optimiser's state is gone: there is no model file {state!r}"
        assert (value.status, value.failure_reason) == ("abandoned", reason)


async def test_an_owner_that_lost_its_lease_writes_nothing(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0)}
    trainers["a"].open.clear()
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create()
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: _has_started(trainers["a"]))
        async with running.system.db.begin() as tx:
            await tx.leases.revoke(training_id)
        trainers["a"].open.set()
        await until(lambda: _is_idle(running))

        value = await running.round(training_id, 1)
        assert (value.status, value.participations[0].status) == ("training", "training")


@pytest.mark.parametrize(
    ("lost", "problem"),
    [(True, NotFound("model file", "x")), (False, NotFound("model file", "x")), (True, ZeroDivisionError())],
)
async def test_a_late_owner_may_miss_what_its_successor_has_removed(
    sqlite_url: str,
    tmp_path: Path,
    lost: bool,
    problem: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A late owner shares the spool with its successor, who empties it when the round is over."""
    trainers = {"a": Adder(1.0)}
    trainers["a"].open.clear()
    unnoticed = {"enabled": False, "tick_seconds": 60, "lease_seconds": 600}

    def gone(*_args: Any) -> None:
        raise problem

    async with plane(tmp_path, sqlite_url, trainers, coordinator=unnoticed) as running:
        training_id = await running.create()
        await running.system.trainings.run_round(training_id)
        with capture_logs() as logs:
            await running.drive()
            await until(lambda: _has_started(trainers["a"]))
            if lost:
                async with running.system.db.begin() as tx:
                    await tx.leases.revoke(training_id)
            monkeypatch.setattr(RoundFiles, "check", gone)
            trainers["a"].open.set()
            await until(lambda: _is_idle(running))

    harmless = lost and isinstance(problem, NotFound)
    news = ("a late owner misses a file", "info") if harmless else ("driving failed", "error")
    assert [(entry["event"], entry["log_level"]) for entry in logs][-1] == news


async def test_a_pause_stops_the_work_and_a_resume_goes_on_with_it(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(3.0)}
    trainers["b"].open.clear()
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(max_rounds=1)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: _received_from(running, training_id, "a"))
        await running.system.trainings.pause(training_id)
        await until(lambda: _is_idle(running))
        trainers["b"].open.set()
        assert (await running.round(training_id, 1)).status == "training"

        await running.system.trainings.start(training_id, "resume")
        await running.drive()
        await until(lambda: _is_completed(running, training_id))
        assert await running.weight(training_id) == 2.0
        assert set(trainers["a"].fitted.values()) == set(trainers["b"].fitted.values()) == {1}


async def test_cancelling_ends_the_round_and_tells_the_agents(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0)}
    trainers["a"].open.clear()
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create()
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: _has_started(trainers["a"]))
        training = await running.system.trainings.cancel(training_id)
        await until(lambda: _is_idle(running))
        await running.system.participants.drain()

        assert (training.status, training.stop_reason) == ("cancelled", "cancelled")
        value = await running.round(training_id, 1)
        assert (value.status, value.failure_reason) == ("abandoned", "the training was cancelled")
        assert [part.status for part in value.participations] == ["skipped"]
        trainers["a"].open.set()
        agent = running.host.agents["a"]
        await until(lambda: _knows_nothing(agent))


async def test_updates_that_left_the_spool_are_asked_for_again(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = {"a": Adder(1.0)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create()
        aggregate = RoundEngine._aggregate

        async def lose_the_spool(self: RoundEngine, *args: Any) -> Any:
            self._files.spool(args[2]).clear()
            return await aggregate(self, *args)

        monkeypatch.setattr(RoundEngine, "_aggregate", lose_the_spool)
        value = await running.run_round(training_id)
        assert value.status == "completed"
        assert await running.weight(training_id) == 1.0
        assert set(trainers["a"].fitted.values()) == {1}


async def test_the_spool_is_empty_after_a_round(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}) as running:
        await running.run_round(await running.create())
        await until(lambda: _has_no_spool(running))


async def _has_no_spool(running: Plane) -> bool:
    return not running.system.housekeeper._files.spooled()


def _die(patch: pytest.MonkeyPatch, when: str, name: str) -> asyncio.Event:
    """Make the process "die" once, before or after a ledger transaction: then nothing is written any more."""
    died = asyncio.Event()
    original: Callable[..., Awaitable[Any]] = getattr(RoundLedger, name)

    async def dying(self: RoundLedger, *args: Any, **kwargs: Any) -> Any:
        if when == "after" and not died.is_set():
            await original(self, *args, **kwargs)
        died.set()
        raise Killed

    async def dead(*_args: Any, **_kwargs: Any) -> Any:
        raise Killed

    for other in ("initial_model", "planned", "handed_over", "settled", "frozen", "committed", "abandoned", "measured"):
        guarded: Callable[..., Awaitable[Any]] = getattr(RoundLedger, other)

        async def alive(
            self: RoundLedger, *args: Any, _guarded: Callable[..., Awaitable[Any]] = guarded, **kwargs: Any
        ) -> Any:
            return await (dead() if died.is_set() else _guarded(self, *args, **kwargs))

        patch.setattr(RoundLedger, other, dying if other == name else alive)
    patch.setattr("app.services.coordinator.Coordinator._release", dead)
    patch.setattr("app.services.rounds.participants.Participants.forget", lambda *_args: None)
    return died


async def _driven_to_death(running: Plane, died: asyncio.Event) -> bool:
    await running.drive()  # more than once: the lease of a round before may just be on its way back
    return died.is_set()


async def _expire_leases(running: Plane) -> None:
    async with running.system.db.begin() as tx:
        await tx.connection.execute(update(trainings).values(lease_until=0.0))


async def _driven_to_its_end(running: Plane, training_id: str) -> bool:
    await running.drive()  # more than once: the housekeeper may just look at the training
    return await _is_completed(running, training_id)


async def _is_completed(running: Plane, training_id: str) -> bool:
    return (await running.system.trainings.get(training_id)).status == "completed"


async def _knows_nothing(agent: Agent) -> bool:
    return len(agent.table) == 0


async def _has_started(trainer: Adder) -> bool:
    return bool(trainer.fitted)


async def _is_idle(running: Plane) -> bool:
    return not running.system.coordinator._driving


async def _received_from(running: Plane, training_id: str, client_id: str) -> bool:
    rounds = await running.system.trainings.rounds(training_id, limit=1, before=None)
    parts = [part for value in rounds for part in value.participations]
    return any(part.client_id == client_id and part.status == "received" for part in parts)
