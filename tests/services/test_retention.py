"""Models that are not kept go, those that anybody needs stay, whoever is at work or killed at that moment."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from app.domain.errors import NotFound, Removed
from app.domain.retention import Retention
from app.domain.trainings import Aggregation
from app.main import build
from app.services import retention
from app.services.system import System
from app.store.model_store import ModelStore, StoredFile, StoreUnavailable
from app.store.removals import WINDOW
from app.store.tables import events
from app.wire.codec import encode
from tests.buckets import BucketServer
from tests.planes import Adder, Plane, plane, policy, settings, until
from tests.store.instants import window_passes

AT_ONCE: dict[str, Any] = {"removal_delay_seconds": 0.0}
STEPS = (0.1, 0.2, 0.3, 0.4, 0.5)
ADAPTIVE: list[Aggregation] = ["fedadam", "fedyogi", "fedadagrad"]


async def rounds(plane: Plane, training_id: str, *steps: float) -> None:
    """One round for each step of the one trainer."""
    (trainer,) = plane.trainers.values()
    for step in steps:
        trainer.step = step
        await plane.run_round(training_id)


async def names(system: System, training_id: str) -> dict[int, str]:
    """The files of a training's versions that are kept, by round."""
    async with system.db.read() as tx:
        return {one.version.round: one.version.sha256 for one in await tx.models.kept(training_id)}


@asynccontextmanager
async def beside(one: Plane, directory: Path, database_url: str, **overrides: Any) -> AsyncIterator[System]:
    """Another server on the same database, which does nothing by itself."""
    other = build(settings(directory, database_url, **overrides), one.system.trainings._clock, None)
    try:
        yield other
    finally:
        await other.caller.close()
        await other.db.dispose()


async def states(system: System, training_id: str) -> set[str]:
    async with system.db.read() as tx:
        kept = await tx.models.kept(training_id)
    return {one.version.optimiser_state for one in kept if one.version.optimiser_state is not None}


def stored(system: System) -> set[str]:
    """The names of the files that are there."""
    return set(ModelStore(system.settings.model_directory).names())


def removed_files(system: System) -> float | None:
    return system.metrics.registry.get_sample_value("federated_model_files_removed_total")


async def test_of_a_training_with_retention_the_rest_goes_and_its_history_stays(
    database_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}, models=AT_ONCE) as running:
        system = running.system
        training_id = await running.create(retention=Retention(keep_last=1))
        await rounds(running, training_id, 1.0, 5.0, -1.0, -1.0)  # w: 1, 6, 5, 4; an accuracy of w / 10
        history = await system.trainings.rounds(training_id, limit=10, before=None)
        with capture_logs() as logs:
            await system.housekeeper.tick()
            await system.housekeeper.tick()

        kept = await names(system, training_id)
        assert sorted(kept) == [0, 2, 3, 4]  # the initial one, the best, the parent of the newest, the newest
        assert stored(system) == set(kept.values())
        assert [await running.weight(training_id, number) for number in kept] == [4.0, 5.0, 6.0, 0.0]
        with pytest.raises(Removed, match="model of round 1 has been removed"):
            await system.models.get(training_id, 1)
        page = await system.models.page(training_id, limit=10, before=None)
        assert [one.version.round for one in page] == [4, 3, 2, 1, 0]
        assert [one.accuracy for one in page] == [*map(pytest.approx, (0.4, 0.5, 0.6, 0.1)), None]
        assert [one.version.removed_at is None for one in page] == [True, True, True, False, True]
        assert await system.trainings.rounds(training_id, limit=10, before=None) == history
        async with system.db.read() as tx:
            query = select(events.c.training_id, events.c.round, events.c.data).where(events.c.type == "model.removed")
            told = [tuple(row) for row in await tx.connection.execute(query)]
        gone = page[3].version
        assert told == [(training_id, 1, {"model": gone.sha256, "size": gone.size})]
        assert removed_files(system) == 1
        assert [line["files"] for line in logs if line["event"] == "removed files of models"] == [1]

        await rounds(running, training_id, 0.25)
        await system.housekeeper.tick()
        assert sorted(await names(system, training_id)) == [0, 2, 4, 5]


async def test_a_removed_versions_file_stays_for_the_delay(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        system = running.system
        training_id = await running.create(retention=Retention(keep_last=1))
        await rounds(running, training_id, 1.0, 1.0, 1.0)
        before = stored(system)
        await system.housekeeper.tick()
        with pytest.raises(Removed):
            await system.models.get(training_id, 1)
        assert stored(system) == before
        assert removed_files(system) == 0


@pytest.mark.parametrize("rule", ["fedavgm", *ADAPTIVE])
async def test_what_server_optimisers_need_is_kept_and_nothing_more(
    sqlite_url: str, tmp_path: Path, rule: Aggregation
) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}, models=AT_ONCE) as running:
        system = running.system
        kept_all = await running.create(aggregation=rule)
        await rounds(running, kept_all, *STEPS)
        wanted = [await running.weight(kept_all, number) for number in range(1, 6)]
        training_id = await running.create(aggregation=rule, retention=Retention(keep_last=1, keep_best=False))
        weights = []
        for step in STEPS:
            await rounds(running, training_id, step)
            weights.append(await running.weight(training_id))
            await system.housekeeper.tick()
        assert weights == wanted
        assert sorted(await names(system, training_id)) == [0, 4, 5]

        everything = {kept_all, training_id}
        files = set().union(*[set((await names(system, one)).values()) for one in everything])
        left = set().union(*[await states(system, one) for one in everything])
        assert stored(system) == files | left
        assert len(left) == (1 if rule in ADAPTIVE else 0)  # of both: the same updates, the same state
        for one in everything:
            await system.trainings.cancel(one)
        await system.housekeeper.tick()
        assert sorted(await names(system, training_id)) == [0, 5]
        assert sorted(await names(system, kept_all)) == [0, 1, 2, 3, 4, 5]
        assert stored(system) == set((await names(system, kept_all)).values())


async def test_a_file_that_another_training_names_stays_until_that_gives_it_up_too(
    database_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}, models=AT_ONCE) as running:
        system = running.system
        keeping = await running.create()
        trainings = [await running.create(retention=Retention(keep_last=1)) for _ in range(2)]
        for training_id in (keeping, *trainings):
            await rounds(running, training_id, 1.0, 1.0, 1.0)
        await system.housekeeper.tick()
        for training_id in trainings:
            assert sorted(await names(system, training_id)) == [0, 2, 3]
        assert stored(system) == set((await names(system, keeping)).values())
        assert await running.weight(keeping, 1) == 1.0
        assert removed_files(system) == 0


async def test_pinned_versions_stay_until_they_are_not_pinned(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}, models=AT_ONCE) as running:
        system = running.system
        training_id = await running.create(retention=Retention(keep_last=1))
        await rounds(running, training_id, 1.0, 1.0, 1.0, 1.0)
        await system.models.pin(training_id, 1)
        await system.models.pin(training_id, 1)
        await system.housekeeper.tick()
        assert sorted(await names(system, training_id)) == [0, 1, 3, 4]
        with pytest.raises(Removed):
            await system.models.pin(training_id, 2)
        await system.housekeeper.tick()
        await system.models.unpin(training_id, 1)
        await system.models.unpin(training_id, 1)
        await system.housekeeper.tick()
        assert sorted(await names(system, training_id)) == [0, 3, 4]
        assert len(stored(system)) == 3


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
        for when in ("removals.begin", "remove", "removals.end"):  # where the process ends
            with monkeypatch.context() as broken:
                target: Any = ModelStore if when == "remove" else "app.store.removals.RemovalRepository"
                if when == "remove":
                    broken.setattr(target, "remove", killed)
                else:
                    broken.setattr(f"{target}.{when.partition('.')[2]}", killed)
                with pytest.raises(Killed):
                    await system.housekeeper.tick()
            assert (stored(system) == before) == (when != "removals.end")
            await window_passes(system.db)
        await system.housekeeper.tick()
        assert stored(system) == set((await names(system, training_id)).values())
        assert removed_files(system) == 1


async def test_a_store_that_refuses_is_asked_again_and_holds_up_nothing_else(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreUnavailable("it does not answer")

    async with plane(tmp_path, sqlite_url, {"a": Adder()}, models=AT_ONCE) as running:
        system = running.system
        training_id = await running.create(retention=Retention(keep_last=1))
        await rounds(running, training_id, 1.0, 1.0, 1.0)
        with monkeypatch.context() as broken, capture_logs() as logs:
            broken.setattr(ModelStore, "remove", refuse)
            await system.housekeeper.tick()
        assert [line["reason"] for line in logs if line["log_level"] == "warning"] == [
            "StoreUnavailable: it does not answer"
        ]
        await window_passes(system.db)
        await system.housekeeper.tick()
        assert removed_files(system) == 1


async def test_a_remover_that_was_asleep_for_too_long_removes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        directory = ModelStore(running.system.settings.model_directory)
        name = directory.write([b"model"]).sha256
        keeper = running.system.housekeeper._retention
        assert not keeper._remove_in_time(name, time.monotonic() - WINDOW)
        assert directory.has(name)
        assert keeper._remove_in_time(name, time.monotonic())
        assert not directory.has(name)


async def test_any_number_is_removed_a_batch_at_a_time(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    async with plane(tmp_path, sqlite_url, {"a": Adder()}, models=AT_ONCE) as running:
        system = running.system
        training_id = await running.create(aggregation="fedadam", retention=Retention(keep_last=1, keep_best=False))
        await rounds(running, training_id, *[1.0] * 7)
        await system.housekeeper.tick()
        kept = await names(system, training_id)
        assert sorted(kept) == [0, 6, 7]
        assert stored(system) == set(kept.values()) | await states(system, training_id)
        assert removed_files(system) == 5 + 6


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
            with pytest.raises(NotFound):
                other.models._files.models.path((await page_names(other, training_id))[1])


async def page_names(system: System, training_id: str) -> dict[int, str]:
    found: Iterable[Any] = await system.models.page(training_id, limit=10, before=None)
    return {one.version.round: one.version.sha256 for one in found}
