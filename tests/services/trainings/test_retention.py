"""Models that are not kept go, and those that anybody needs stay."""

from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from app.domain.errors import Removed
from app.domain.retention import Retention
from app.services.trainings import retention
from app.store.model_store import ModelStore, StoreUnavailable
from app.store.tables import events
from tcsfeel.aggregation.config import Aggregation
from tests.planes import Adder, plane
from tests.services.model_files import AT_ONCE, names, removed_files, rounds, states, stored
from tests.store.instants import window_passes

STEPS = (0.1, 0.2, 0.3, 0.4, 0.5)
ADAPTIVE: list[Aggregation] = ["fedadam", "fedyogi", "fedadagrad"]


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
        page = (await system.models.page(training_id, limit=10, before=None)).items
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


@pytest.mark.untraced
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
        assert sorted(await names(system, training_id)) == [0, 4, 5], "another training may start from it"
        assert sorted(await names(system, kept_all)) == [0, 1, 2, 3, 4, 5]
        assert stored(system) == files | left


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
