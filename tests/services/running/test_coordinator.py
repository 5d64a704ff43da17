"""Troubles of our own in the middle of a round: they interrupt it, and count against nobody."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from app.clock import Clock
from app.domain.breaker import Breaker
from app.domain.rounds import Round
from app.store.availability import DatabaseUnavailable
from app.store.database import Database
from app.store.outages import Outage
from tcsfeel.wire.codec import pack
from tests.buckets import BucketServer
from tests.clocks import FakeClock, Sleeping
from tests.planes import Adder, Plane, plane, until

LONG = {"enabled": False, "tick_seconds": 0.05, "lease_seconds": 600}  # nobody gets on by a lease that runs out
BEYOND_THE_DEADLINE = 1_000.0  # s, and within `max_wait_seconds`
SHORT = {"enabled": False, "tick_seconds": 0.05, "lease_seconds": 3}  # a busy machine must be able to renew it


@asynccontextmanager
async def away(url: str) -> AsyncIterator[None]:
    """Inside the block the database has no connections, and takes none."""
    parts = make_url(url).set(drivername="postgresql")
    server = await asyncpg.connect(parts.set(database="postgres").render_as_string(hide_password=False))
    try:
        await server.execute(f'ALTER DATABASE "{parts.database}" ALLOW_CONNECTIONS false')
        await server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", parts.database
        )
        yield
    finally:
        await server.execute(f'ALTER DATABASE "{parts.database}" ALLOW_CONNECTIONS true')
        await server.close()


@asynccontextmanager
async def in_mid_round(
    directory: Path,
    database_url: str,
    coordinator: Mapping[str, Any],
    *,
    clock: Clock | None = None,
    models: str | None = None,
) -> AsyncIterator[tuple[Plane, str]]:
    """A plane whose only agent has begun to train, and the training."""
    trainer = Adder(1.0)
    trainer.open.clear()
    overrides: dict[str, Any] = {"coordinator": coordinator} | ({} if models is None else {"models": {"url": models}})
    async with plane(directory, database_url, {"a": trainer}, clock=clock, **overrides) as running:
        training_id = await running.create(max_rounds=1)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: _has_started(trainer))
        yield running, training_id


async def test_a_round_goes_on_after_an_outage_of_the_database(postgres_url: str, tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with in_mid_round(tmp_path, postgres_url, LONG) as (running, training_id):
            trainer = running.trainers["a"]
            async with away(postgres_url):
                trainer.open.set()
                await until(lambda: _told(logs, "interrupted"))
            round_ = await running.ended(training_id, 1)
            await _assert_whole(running, round_)
            assert round_.deadline_at - round_.started_at > 600, "it got its time back"
            assert (await running.system.trainings.get(training_id)).fence == 1, "its owner went on"
    assert {entry["event"] for entry in logs if entry["log_level"] == "error"} <= {"the database does not answer"}
    assert not any("exc_info" in entry for entry in logs)


async def test_after_an_outage_longer_than_the_lease_a_round_goes_on_at_once(postgres_url: str, tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with in_mid_round(tmp_path, postgres_url, SHORT) as (running, training_id):
            async with away(postgres_url):
                await until(lambda: _is_idle(running))
            running.trainers["a"].open.set()
            await until(lambda: _drives(running))
            await _assert_whole(running, await running.ended(training_id, 1))
    told = [entry["event"] for entry in logs]
    assert told.count("the lease ran out") == 1
    assert {entry["event"] for entry in logs if entry["log_level"] == "error"} == {"the database does not answer"}


async def test_an_owner_that_gets_no_answer_in_time_blames_nobody(postgres_url: str, tmp_path: Path) -> None:
    """The database may have fallen silent, or the owner's own process may have stood still: it cannot know."""
    with capture_logs() as logs:
        async with in_mid_round(tmp_path, postgres_url, SHORT) as (running, training_id):
            other = Database(postgres_url)
            async with other.begin() as tx:
                await tx.trainings.get(training_id, for_update=True)
                await until(lambda: _told(logs, "the lease ran out"))
            await other.dispose()
            running.trainers["a"].open.set()
            await until(lambda: _is_idle(running))
            await until(lambda: _drives(running))
            await _assert_whole(running, await running.ended(training_id, 1))
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == []


@pytest.mark.parametrize(("place", "status"), [("spool", "training"), ("models", "aggregating")])
async def test_a_round_goes_on_when_the_disk_has_room_again(
    place: str, status: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.spools.SMALL_BYTES", -1)
    directory, clock = tmp_path / "data", FakeClock(sleeping=Sleeping.LASTS)
    with capture_logs() as logs:
        async with in_mid_round(directory, sqlite_url, LONG, clock=clock) as (running, training_id):
            release = _block_the_spool(directory) if place == "spool" else _block_the_next_model(directory)
            running.trainers["a"].open.set()
            await until(lambda: _told(logs, "interrupted"))
            clock.advance(BEYOND_THE_DEADLINE)
            await until(lambda: _told(logs, "interrupted", times=2))
            assert (await running.round(training_id, 1)).status == status
            release()
            await _assert_whole(running, await running.ended(training_id, 1))
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


async def test_a_round_goes_on_when_the_bucket_answers_again(
    sqlite_url: str, tmp_path: Path, bucket_server: BucketServer
) -> None:
    clock = FakeClock(sleeping=Sleeping.LASTS)
    with capture_logs() as logs:
        async with in_mid_round(tmp_path / "data", sqlite_url, LONG, clock=clock, models=bucket_server.url) as (
            running,
            training_id,
        ):
            (initial,) = bucket_server.names()
            bucket_server.stop()
            running.trainers["a"].open.set()
            await until(lambda: _told(logs, "interrupted"))
            clock.advance(BEYOND_THE_DEADLINE)
            await until(lambda: _told(logs, "interrupted", times=2))
            assert (await running.round(training_id, 1)).status == "aggregating"
            assert (await running.system.trainings.get(training_id)).model == initial.rpartition("/")[2]
            bucket_server.start()
            assert initial in bucket_server.names()
            await _assert_whole(running, await running.ended(training_id, 1))
            model = (await running.system.trainings.get(training_id)).model
            assert f"some/prefix/{model}" in bucket_server.names()
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    reasons = [entry["reason"] for entry in logs if entry["event"] == "interrupted"]
    assert set(reasons) == {f"ObjectStoreUnavailable: s3://{bucket_server.name}/some/prefix: no answer (Connect)"}


async def test_a_successor_on_another_machine_that_cannot_read_the_model_waits_for_the_bucket(
    sqlite_url: str, tmp_path: Path, bucket_server: BucketServer
) -> None:
    fields: dict[str, Any] = {"coordinator": LONG, "models": {"url": bucket_server.url}}
    trainers = {"a": Adder(1.0)}
    async with plane(tmp_path / "first", sqlite_url, trainers, **fields) as first:
        training_id = await first.create(max_rounds=2)
        await first.run_round(training_id)
        with capture_logs() as logs:
            async with plane(
                tmp_path / "second", sqlite_url, trainers, host=first.host, register=False, **fields
            ) as second:
                with bucket_server.refusing():
                    await second.system.trainings.run_round(training_id)
                    await second.drive()
                    await until(lambda: _told(logs, "interrupted"))
                    assert (await second.round(training_id, 2)).status == "selecting"
                round_ = await second.ended(training_id, 2)
                assert (round_.status, await second.weight(training_id)) == ("completed", 2.0)
        assert await first.weight(training_id) == 2.0  # it reads what the other one wrote
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


def test_an_outage_is_told_when_it_begins_and_when_it_is_over() -> None:
    outage = Outage()
    with capture_logs() as logs:
        outage.end()
        outage.meet(DatabaseUnavailable("connection refused"))
        outage.meet(DatabaseUnavailable("connection refused"))
        outage.end()
        outage.end()
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("the database does not answer", "error"),
        ("the database answers again", "info"),
    ]
    assert logs[0]["reason"] == "DatabaseUnavailable: connection refused"


async def _assert_whole(running: Plane, round_: Round) -> None:
    """The round as if nothing had been, and nothing held against its client."""
    assert round_.status == "completed"
    (part,) = round_.participations
    assert (part.status, part.attempts) == ("received", 1)
    assert set(running.trainers["a"].fitted.values()) == {1}
    assert await running.weight(round_.training_id) == 1.0
    async with running.system.db.read() as tx:
        client = await tx.clients.get("a")
    assert client.breaker == Breaker(outcomes=("ok",))
    assert client.measured.reliability == pytest.approx(0.93)


def _block_the_spool(directory: Path) -> Callable[[], None]:
    spool = directory / "spool"
    shutil.rmtree(spool, ignore_errors=True)
    spool.write_text("in the way of the directory")
    return spool.unlink


def _block_the_next_model(directory: Path) -> Callable[[], None]:
    payload = pack({"w": np.ones(3, np.float32)}).payload()
    place = directory / "models" / hashlib.sha256(b"".join(payload)).hexdigest()
    place.mkdir()
    return place.rmdir


async def _has_started(trainer: Adder) -> bool:
    return bool(trainer.fitted)


async def _told(logs: Sequence[Mapping[str, Any]], event: str, *, times: int = 1) -> bool:
    return [entry["event"] for entry in logs].count(event) >= times


async def _drives(running: Plane) -> bool:
    """Whether a training is driven, which a lease that ran out allows in a moment."""
    await running.drive()
    return not await _is_idle(running)


async def _is_idle(running: Plane) -> bool:
    return not running.system.coordinator._driving


async def test_a_tick_claims_the_running_trainings_and_is_young_again(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}) as running:
        coordinator = running.system.coordinator
        started, created = [await running.create(max_rounds=1) for _ in range(2)]
        await running.system.trainings.start(started)
        coordinator._last_tick -= 1000
        assert coordinator.tick_age >= 1000
        await coordinator.tick()
        assert coordinator.tick_age < 1000
        fences = [(await running.system.trainings.get(name)).fence for name in (started, created)]
        assert fences == [1, 0]
        await running.ended(started, 1)


async def test_a_server_that_stops_gives_its_training_to_others_at_once(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}, coordinator=LONG) as running:
        coordinator, driving = running.system.coordinator, asyncio.Event()

        async def drive(*_: object) -> None:
            """Drive a round whose work takes a moment to end."""
            driving.set()
            try:
                await asyncio.Event().wait()
            finally:
                for _turn in range(20):
                    await asyncio.sleep(0)

        monkeypatch.setattr(coordinator._engine, "drive", drive)
        await running.system.trainings.start(await running.create(max_rounds=1))
        await coordinator.tick()
        await driving.wait()
        async with running.system.db.read() as tx:
            assert not await tx.leases.claimable()
        await coordinator.stop()
        async with running.system.db.read() as tx:
            assert await tx.leases.claimable()
