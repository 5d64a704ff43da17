"""What dead processes left on the disk goes; what somebody still writes to stays."""

import asyncio
import os
import time
from pathlib import Path

from sqlalchemy import insert
from structlog.testing import capture_logs

from app.domain.rounds import RoundStatus
from app.services.access.tokens import TokenRenewal
from app.services.events.retention import EventRetention
from app.services.rounds.files import RoundFiles
from app.services.running.housekeeping import STALE_SECONDS, Housekeeper
from app.services.trainings.idempotency import KeyRetention
from app.services.trainings.retention import ModelRetention
from app.settings import EventSettings
from app.store.database import Database
from app.store.model_store import ModelStore
from app.store.spools import SMALL_BYTES
from app.store.tables import events
from tests.clocks import FakeClock
from tests.planes import until
from tests.services.fakes import TOKENS, metrics
from tests.store.samples import a_round, training

LARGE = bytes(SMALL_BYTES + 1)  # which is kept in a file
STATUSES: list[RoundStatus] = ["completed", "abandoned", "selecting", "training", "aggregating", "evaluating"]


def keeper(db: Database, tmp_path: Path) -> tuple[Housekeeper, RoundFiles]:
    files = RoundFiles(ModelStore(tmp_path / "models"), tmp_path / "spool")
    retention = ModelRetention(
        db=db, files=files.models, copies=None, clock=FakeClock(), metrics=metrics(), delay=STALE_SECONDS
    )
    kept = EventRetention(db, EventSettings(keep_last=1000))
    keys = KeyRetention(db, FakeClock(), hours=1)
    return Housekeeper(db, files, kept, keys, TokenRenewal(db, TOKENS), retention), files


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


async def test_spools_of_rounds_that_are_over_are_emptied_and_no_others(sqlite: Database, tmp_path: Path) -> None:
    housekeeper, files = keeper(sqlite, tmp_path)
    async with sqlite.begin() as tx:
        await tx.trainings.add(training())
        for number, status in enumerate(STATUSES, start=1):
            await tx.rounds.add(a_round(number=number, status=status))
    for number in range(1, len(STATUSES) + 1):
        files.spool(a_round(number=number)).write([LARGE])
    files.spool(a_round("gone")).write([LARGE])

    with capture_logs() as logs:
        await housekeeper.tick()
        await housekeeper.tick()
    assert sorted(files.spooled()) == [("t", number) for number in (3, 4, 5, 6)]
    assert all(list((tmp_path / "spool" / "t" / str(number)).iterdir()) for number in (3, 4, 5, 6))
    assert [entry["spools"] for entry in logs if entry["event"] == "removed leftover files"] == [3]


async def test_the_directories_of_trainings_without_a_spool_go(sqlite: Database, tmp_path: Path) -> None:
    """Earlier versions left one for each training."""
    housekeeper, files = keeper(sqlite, tmp_path)
    for name in ("done", "gone"):
        (files.spool_directory / name).mkdir(parents=True)
    files.spool(a_round("gone")).write([LARGE])
    await housekeeper.tick()
    assert list(files.spool_directory.iterdir()) == []


async def test_unfinished_files_go_once_nobody_writes_to_them(sqlite: Database, tmp_path: Path) -> None:
    housekeeper, files = keeper(sqlite, tmp_path)
    model = files.models.write([b"model"])
    finished = files.models.path(model.sha256)
    abandoned, growing = finished.with_name(".aa.part"), finished.with_name(".bb.part")
    for path in (abandoned, growing):
        path.write_bytes(b"mod")
    age(abandoned, STALE_SECONDS + 60)
    age(growing, STALE_SECONDS - 60)
    age(finished, 10 * STALE_SECONDS)

    await housekeeper.tick()
    assert sorted(path.name for path in finished.parent.iterdir()) == sorted([growing.name, finished.name])


async def test_uploads_that_were_never_checked_go_too(sqlite: Database, tmp_path: Path) -> None:
    housekeeper, files = keeper(sqlite, tmp_path)
    old, young, growing = files.upload(), files.upload(), files.upload()
    for upload in (old, young, growing):
        path = upload.path(upload.write([b"model"]).sha256)
        if upload is not young:
            age(path, STALE_SECONDS + 60)
            age(path.parent, STALE_SECONDS + 60)
    (path.parent / ".aa.part").write_bytes(b"mo")  # the next one of the last upload

    await housekeeper.tick()
    assert [upload.has(path.name) for upload in (old, young, growing)] == [False, True, True]
    assert len(list((tmp_path / "spool" / "uploads").iterdir())) == 2


async def test_a_data_directory_without_anything_is_in_order(sqlite: Database, tmp_path: Path) -> None:
    housekeeper, files = keeper(sqlite, tmp_path)
    with capture_logs() as logs:
        await housekeeper.tick()
    assert not logs
    assert files.spooled() == []
    assert not (tmp_path / "models").exists()


async def test_events_that_are_not_kept_go_with_it(sqlite: Database, tmp_path: Path) -> None:
    housekeeper, _ = keeper(sqlite, tmp_path)
    async with sqlite.begin() as tx:
        await tx.connection.execute(insert(events), [{"at": 1.0, "type": "client.removed", "data": {}}] * 1003)
    await housekeeper.tick()
    async with sqlite.read() as tx:
        assert (await tx.events.after(0, limit=1)).items[0].id == 4


async def test_the_loop_cleans_up_at_once_and_ends_only_when_it_is_cancelled(sqlite: Database, tmp_path: Path) -> None:
    housekeeper, files = keeper(sqlite, tmp_path)
    files.spool(a_round("gone")).write([LARGE])
    looping = asyncio.create_task(housekeeper.run())

    async def is_clean() -> bool:
        return files.spooled() == []

    await until(is_clean)
    assert not looping.done()
    looping.cancel()
    await asyncio.wait([looping])
    assert looping.cancelled()
