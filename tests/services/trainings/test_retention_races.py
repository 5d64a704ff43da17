"""Models go while others are at work: servers beside each other, uploads, rounds, whoever is killed."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from app.domain.errors import NotFound
from app.domain.retention import Retention
from app.services.system import System
from app.services.trainings.retention import ModelRetention
from app.store.model_store import ModelStore, StoredFile
from app.store.removals import WINDOW, RemovalRepository
from app.store.tables import events
from tcsfeel.wire.codec import encode
from tests.buckets import BucketServer
from tests.planes import Adder, Plane, plane, policy, until
from tests.services.model_files import AT_ONCE, beside, names, removed_files, rounds, stored
from tests.store.instants import window_passes

pytestmark = pytest.mark.untraced


async def test_what_is_evaluated_and_what_is_aggregated_is_kept(database_url: str, tmp_path: Path) -> None:
    """Looking for what may go in the middle of a round harms it at no status."""
    trainers = {"a": Adder()}
    async with plane(tmp_path, database_url, trainers, models=AT_ONCE) as running:
        system = running.system
        training_id = await running.create(
            aggregation="fedavgm", retention=Retention(keep_last=1, keep_best=False), round_policy=policy()
        )
        await rounds(running, training_id, 1.0, 1.0, 1.0)
        trainers["a"].open.clear()
        number = await system.trainings.run_round(training_id)
        await until(lambda: handed_over(running, f"{training_id}.{number}.a.fit"))
        await system.housekeeper.tick()
        trainers["a"].open.set()
        assert (await running.ended(training_id, number)).status == "completed"
        assert sorted(await names(system, training_id)) == [0, 2, 3, 4]


async def handed_over(plane: Plane, task: str) -> bool:
    await plane.drive()  # the lease of the round before may just be on its way back
    return any(trainer.fitted[task] for trainer in plane.trainers.values())


async def test_whoever_is_killed_before_a_file_is_gone_is_followed(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    async with plane(tmp_path, database_url, {"a": Adder()}, models=AT_ONCE) as running:
        system = running.system
        training_id = await running.create(retention=Retention(keep_last=1))
        await rounds(running, training_id, 1.0, 1.0, 1.0)
        before = stored(system)
        steps = ((RemovalRepository, "begin"), (ModelStore, "remove"), (RemovalRepository, "end"))
        for holder, step in steps:  # where the process ends
            with monkeypatch.context() as broken:
                broken.setattr(holder, step, killed)
                with pytest.raises(Killed):
                    await system.housekeeper.tick()
            assert (stored(system) == before) == (step != "end")
            await window_passes(system.db)
        await system.housekeeper.tick()
        assert stored(system) == set((await names(system, training_id)).values())
        assert removed_files(system) == 1


async def test_a_remover_that_was_asleep_for_too_long_removes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        directory = ModelStore(running.system.settings.model_directory)
        name = directory.write([b"model"]).sha256
        keeper = running.system.housekeeper._upkeeps[-1]
        assert isinstance(keeper, ModelRetention)
        assert not keeper._remove_in_time(name, time.monotonic() - WINDOW)
        assert directory.has(name)
        assert keeper._remove_in_time(name, time.monotonic())
        assert not directory.has(name)


async def test_servers_that_look_at_the_same_time_remove_each_file_once(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}, models=AT_ONCE) as one:
        trainings = [await one.create(retention=Retention(keep_last=1)) for _ in range(3)]
        for begin, training_id in enumerate(trainings):
            await rounds(one, training_id, 1.0 + begin / 4, 1.0, 1.0, 1.0)
        async with beside(one, tmp_path, database_url, models=AT_ONCE) as other:
            await asyncio.gather(*[system.housekeeper.tick() for system in (one.system, other, one.system, other)])
            await asyncio.gather(*[system.housekeeper.tick() for system in (one.system, other)])
            kept = [set((await names(one.system, training_id)).values()) for training_id in trainings]
            assert stored(one.system) == set().union(*kept)
            assert (removed_files(one.system) or 0) + (removed_files(other) or 0) == 3 * 2
        async with one.system.db.read() as tx:
            told = await tx.connection.execute(select(events.c.round).where(events.c.type == "model.removed"))
        assert sorted(row.round for row in told) == [1, 1, 1, 2, 2, 2]


class Gate:
    """Stops a thread at `pass_` until it is opened."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._open = threading.Event()
        self._loop = asyncio.get_running_loop()

    def pass_(self) -> None:
        self._loop.call_soon_threadsafe(self._reached.set)
        assert self._open.wait(20)

    async def reached(self) -> None:
        async with asyncio.timeout(20):
            await self._reached.wait()

    def open(self) -> None:
        self._open.set()


def at_once(monkeypatch: pytest.MonkeyPatch, name: str, directory: Path, gate: Gate, *, before: bool) -> None:
    """Let the first call of a method on the model store stop at the gate, before or after its work."""
    method: Callable[..., Any] = getattr(ModelStore, name)
    calls: list[None] = []

    def gated(store: ModelStore, *args: Any) -> Any:
        first = store._directory == directory and not calls
        if first:
            calls.append(None)
        if first and before:
            gate.pass_()
        result = method(store, *args)
        if first and not before:
            gate.pass_()
        return result

    monkeypatch.setattr(ModelStore, name, gated)


async def body(content: bytes) -> AsyncIterator[bytes]:
    yield content


def model(value: float) -> bytes:
    return encode({"w": np.full(3, value, np.float32)})


@pytest.fixture
async def replaced(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[System, str, StoredFile]]:
    """A training without a model, and a file that nothing names any more: another one replaced it."""
    async with plane(tmp_path, database_url, {"a": Adder()}, models=AT_ONCE) as running:
        upload = running.system.models.upload
        first = await running.create()
        version = await upload(first, body(model(1.0)))
        await upload(first, body(model(2.0)))
        yield running.system, await running.create(), StoredFile(version.sha256, version.size)


async def test_an_upload_of_what_is_about_to_be_removed_is_stored_after_that(
    replaced: tuple[System, str, StoredFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, training_id, file = replaced
    gate = Gate()
    at_once(monkeypatch, "remove", system.settings.model_directory, gate, before=True)
    tick = asyncio.create_task(system.housekeeper.tick())
    await gate.reached()
    upload = asyncio.create_task(system.models.upload(training_id, body(model(1.0))))
    done, _ = await asyncio.wait([upload], timeout=0.1)
    assert not done
    gate.open()
    await tick
    assert (await upload).sha256 == file.sha256
    assert file.sha256 in stored(system)
    await system.housekeeper.tick()
    assert (await system.models.get(training_id, 0)).path.read_bytes() == model(1.0)


async def test_an_upload_whose_file_is_removed_before_it_is_named_writes_it_again(
    replaced: tuple[System, str, StoredFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, training_id, file = replaced
    gate = Gate()
    at_once(monkeypatch, "write", system.settings.model_directory, gate, before=False)
    upload = asyncio.create_task(system.models.upload(training_id, body(model(1.0))))
    await gate.reached()
    assert file.sha256 in stored(system)
    await system.housekeeper.tick()
    assert file.sha256 not in stored(system)
    gate.open()
    assert (await upload).sha256 == file.sha256
    assert (await system.models.get(training_id, 0)).path.read_bytes() == model(1.0)


async def test_a_round_whose_file_is_removed_before_it_is_committed_makes_it_again(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = {"a": Adder()}
    async with plane(tmp_path, database_url, trainers, models=AT_ONCE) as running:
        system = running.system
        training_id = await running.create(retention=Retention(keep_last=1, keep_best=False))
        await rounds(running, training_id, 1.0, 1.0, 1.0)  # the parameters of round 1 are 1, and not kept
        gate = Gate()
        at_once(monkeypatch, "write", system.settings.model_directory, gate, before=False)
        with capture_logs() as logs:
            round_of_one = asyncio.create_task(rounds(running, training_id, -2.0))  # 1 again
            await gate.reached()
            await system.housekeeper.tick()
            assert removed_files(system) == 1
            gate.open()
            await round_of_one
        assert any("was being removed" in line["reason"] for line in logs if line["event"] == "interrupted")
        kept = await names(system, training_id)
        assert sorted(kept) == [0, 2, 3, 4]
        async with system.db.read() as tx:
            assert kept[4] == (await tx.models.get(training_id, 1)).sha256
        assert await running.weight(training_id, 4) == 1.0
        assert set(trainers["a"].fitted.values()) == {1}
        assert (await running.round(training_id, 4)).status == "completed"


async def test_copies_of_what_another_server_removed_from_the_bucket_go_too(
    sqlite_url: str, tmp_path: Path, bucket_server: BucketServer
) -> None:
    place = AT_ONCE | {"url": bucket_server.url}
    async with plane(tmp_path / "one", sqlite_url, {"a": Adder()}, models=place) as one:
        training_id = await one.create(retention=Retention(keep_last=1))
        await rounds(one, training_id, 1.0, 1.0, 1.0)
        async with beside(one, tmp_path / "other", sqlite_url, models=place) as other:
            for number in (0, 1):
                await other.models.get(training_id, number)
            await one.system.housekeeper.tick()
            kept = await names(one.system, training_id)
            assert sorted(kept) == [0, 2, 3]
            assert bucket_server.names() == sorted(f"some/prefix/{name}" for name in kept.values())
            assert stored(one.system) == set(kept.values())
            assert len(stored(other)) == 2
            await other.housekeeper.tick()
            assert stored(other) == {kept[0]}
            assert removed_files(other) == 0
            page = (await other.models.page(training_id, limit=10, before=None)).items
            with pytest.raises(NotFound):
                other.models._files.models.path(page[2].version.sha256)  # of round 1
