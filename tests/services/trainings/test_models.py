"""A training's models: the initial one that a user uploads, those that it keeps, and those that are pinned."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.errors import NotFound, StateForbids
from app.services.rounds.files import RoundFiles
from app.services.trainings.models import Models
from app.store.database import Database
from app.store.model_store import FileTooLarge, ModelStore
from tcsfeel.errors import Invalid
from tcsfeel.wire.codec import encode
from tests.clocks import FakeClock
from tests.store.samples import training, version

NOW = 1_000_000.0
MAX_BYTES = 1000
MODEL, OTHER = (encode({"w": np.full(3, value, np.float32)}) for value in (1.0, 2.0))


@pytest.fixture
async def models(db: Database, tmp_path: Path) -> Models:
    """Those of the training `t`, which has none yet."""
    async with db.begin() as tx:
        await tx.trainings.add(training())
    files = RoundFiles(ModelStore(tmp_path / "models", durable=False), tmp_path / "spool")
    return Models(db, files, FakeClock(NOW), max_bytes=MAX_BYTES, bytes_of_key=10 * MAX_BYTES)


async def body(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 16):
        yield content[start : start + 16]


async def told(db: Database) -> list[tuple[str, int | None]]:
    async with db.read() as tx:
        return [(event.type, event.round) for event in (await tx.events.after(0, limit=100)).items]


def uploads(tmp_path: Path) -> list[Path]:
    """What uploads have left in the spool."""
    return list((tmp_path / "spool" / "uploads").glob("*/*"))


async def test_an_upload_is_the_trainings_initial_model_until_another_replaces_it(
    models: Models, db: Database, tmp_path: Path
) -> None:
    for content in (MODEL, OTHER):
        uploaded = await models.upload("t", body(content))
        assert (uploaded.round, uploaded.parent, uploaded.created_at) == (0, None, NOW)
        for number in (0, None):
            stored = await models.get("t", number)
            assert stored.version == uploaded
            assert stored.path.read_bytes() == content
        async with db.read() as tx:
            assert (await tx.trainings.get("t")).model == uploaded.sha256
    assert await told(db) == [("training.model_uploaded", None)] * 2
    assert uploads(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "error"), [(b"no model", Invalid), (b"", Invalid), (MODEL + b" " * MAX_BYTES, FileTooLarge)]
)
async def test_a_body_that_cannot_be_a_model_leaves_nothing(
    content: bytes, error: type[Exception], models: Models, db: Database, tmp_path: Path
) -> None:
    with pytest.raises(error):
        await models.upload("t", body(content))
    with pytest.raises(NotFound):
        await models.get("t", None)
    assert (await told(db), uploads(tmp_path)) == ([], [])


async def test_an_initial_model_comes_before_the_first_round(models: Models, db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.put(replace(training(), status="paused", current_round=1))
    with pytest.raises(StateForbids, match="paused"):
        await models.upload("t", body(MODEL))
    with pytest.raises(NotFound):
        await models.upload("u", body(MODEL))


async def test_versions_come_newest_first(models: Models, db: Database) -> None:
    async with db.begin() as tx:
        for number, digit in enumerate("abc"):
            await tx.models.add(version(number, digit))
    newest = await models.page("t", limit=2, before=None)
    assert ([one.version.round for one in newest.items], newest.more) == ([2, 1], True)
    rest = await models.page("t", limit=2, before=1)
    assert ([one.version.round for one in rest.items], rest.more) == ([0], False)
    with pytest.raises(NotFound):
        await models.page("u", limit=2, before=None)


async def test_a_version_is_pinned_once_and_unpinned_once(models: Models, db: Database) -> None:
    await models.upload("t", body(MODEL))
    for _ in range(2):
        await models.pin("t", 0)
        assert (await models.get("t", 0)).version.pinned_at == NOW
    for _ in range(2):
        await models.unpin("t", 0)
        assert (await models.get("t", 0)).version.pinned_at is None
    assert await told(db) == [("training.model_uploaded", None), ("model.pinned", 0), ("model.unpinned", 0)]
    for ask in (models.pin, models.unpin):
        with pytest.raises(NotFound):
            await ask("t", 1)
