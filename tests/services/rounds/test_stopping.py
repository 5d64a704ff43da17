"""Work on a round that ends before the round does: a lost lease, a pause, a cancellation."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.domain.breaker import Breaker
from app.domain.errors import NotFound
from app.domain.trainings import Uploads
from app.services.rounds.files import RoundFiles
from tcsfeel.agent import Agent
from tcsfeel.wire.tasks import EncodingName
from tests.planes import Adder, plane, until
from tests.services.courses import has_received, has_started, has_status, is_idle, statuses
from tests.services.rounds.foreign import STEP

pytestmark = pytest.mark.untraced


async def test_an_owner_that_lost_its_lease_writes_nothing(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0)}
    trainers["a"].open.clear()
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create()
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: has_started(trainers["a"]))
        async with running.system.db.begin() as tx:
            await tx.leases.revoke(training_id)
        trainers["a"].open.set()
        await until(lambda: is_idle(running))

        round_ = await running.round(training_id, 1)
        assert (round_.status, round_.participations[0].status) == ("training", "training")


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
            await until(lambda: has_started(trainers["a"]))
            if lost:
                async with running.system.db.begin() as tx:
                    await tx.leases.revoke(training_id)
            monkeypatch.setattr(RoundFiles, "check", gone)
            trainers["a"].open.set()
            await until(lambda: is_idle(running))

    harmless = lost and isinstance(problem, NotFound)
    news = (
        ("a file is missing, since another server owns the round now", "info")
        if harmless
        else ("driving the training failed", "error")
    )
    told = [(entry["event"], entry["log_level"]) for entry in logs]
    assert news in told
    assert {event for event, _ in told} & {
        "a file is missing, since another server owns the round now",
        "driving the training failed",
    } == {news[0]}


async def test_a_pause_stops_the_work_and_a_resume_goes_on_with_it(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(3.0)}
    trainers["b"].open.clear()
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(max_rounds=1)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_received(running, training_id, 1))
        await running.system.trainings.pause(training_id)
        await until(lambda: is_idle(running))
        trainers["b"].open.set()
        assert (await running.round(training_id, 1)).status == "training"

        await running.system.trainings.start(training_id, "resume")
        await running.drive()
        await until(lambda: has_status(running, training_id, "completed"))
        assert await running.weight(training_id) == 2.0
        assert set(trainers["a"].fitted.values()) == set(trainers["b"].fitted.values()) == {1}


@pytest.mark.parametrize(("before", "after"), [("int8", "full"), ("full", "int8"), ("int8", "float16")])
async def test_a_round_that_goes_on_takes_updates_in_the_encoding_that_it_offered(
    sqlite_url: str, tmp_path: Path, before: EncodingName, after: EncodingName
) -> None:
    trainers = {"a": Adder(STEP), "b": Adder(3 * STEP)}
    for trainer in trainers.values():
        trainer.open.clear()
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create(max_rounds=1, uploads=Uploads(encoding=before))
        await running.system.trainings.start(training_id)
        await running.drive()
        for trainer in trainers.values():
            await until(partial(has_started, trainer))
        await running.system.trainings.pause(training_id)
        await until(lambda: is_idle(running))
        await running.system.trainings.change(
            training_id, lambda found: replace(found.config, uploads=Uploads(encoding=after))
        )
        for trainer in trainers.values():
            trainer.open.set()

        await running.system.trainings.start(training_id, "resume")
        await running.drive()
        await until(lambda: has_status(running, training_id, "completed"))
        assert statuses(await running.round(training_id, 1)) == {"a": "received", "b": "received"}
        assert await running.weight(training_id) == 2 * STEP


async def test_cancelling_ends_the_round_and_tells_the_agents(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0)}
    trainers["a"].open.clear()
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create()
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_started(trainers["a"]))
        training = await running.system.trainings.cancel(training_id)
        await until(lambda: is_idle(running))
        await running.system.participants.drain()

        assert (training.status, training.stop_reason) == ("cancelled", "cancelled")
        round_ = await running.round(training_id, 1)
        assert (round_.status, round_.failure_reason) == ("abandoned", "the training was cancelled")
        assert [part.status for part in round_.participations] == ["skipped"]
        trainers["a"].open.set()
        agent = running.host.agents["a"]
        await until(lambda: _knows_nothing(agent))


async def test_cancelling_blames_no_client_and_counts_what_was_sent(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(1.0)}
    for trainer in trainers.values():
        trainer.open.clear()
    # The owner notices late: an agent that was told to forget its task by then answers that it was cancelled.
    late = {"enabled": False, "tick_seconds": 1.0, "lease_seconds": 600}
    async with plane(tmp_path, database_url, trainers, coordinator=late) as running:
        training_id = await running.create()
        await running.system.trainings.start(training_id)
        await running.drive()
        for trainer in trainers.values():
            await until(partial(has_started, trainer))
        await running.system.trainings.cancel(training_id)
        await until(lambda: is_idle(running))
        await running.system.participants.drain()

        round_ = await running.round(training_id, 1)
        assert [(part.status, part.attempts) for part in round_.participations] == [("skipped", 1)] * 2
        assert all(part.bytes_sent > 0 for part in round_.participations)
        assert round_.communication_bytes == sum(part.bytes_sent for part in round_.participations)
        for client_id in trainers:
            client = await running.system.clients.get(client_id)
            assert client.breaker == Breaker()
            assert client.measured.reliability is None
        for trainer in trainers.values():
            trainer.open.set()
        await until(lambda: _knows_nothing(running.host.agents["a"]))


async def _knows_nothing(agent: Agent) -> bool:
    return len(agent.table) == 0
