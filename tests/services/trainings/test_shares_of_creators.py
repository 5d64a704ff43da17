"""How many trainings a caller may have, and how many bytes their models.

Covers: app.services.trainings.trainings, app.services.trainings.models
"""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from app.domain.errors import LimitReached, StorageLimitReached
from app.domain.trainings import TrainingConfig
from app.origins import acting
from app.services.trainings.forking import Start
from app.services.trainings.idempotency import IdempotentRequest
from app.store.model_store import FileTooLarge
from tcsfeel.wire.codec import encode
from tests.planes import Plane, plane

CONFIG = TrainingConfig(name="x")
MODEL, OTHER = (encode({"w": np.full(100, value, np.float32)}) for value in (1.0, 2.0))


async def create(running: Plane, actor: str = "ops") -> str:
    with acting(actor):
        return (await running.system.trainings.create(CONFIG)).id


async def body(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_a_caller_may_have_some_trainings_that_have_not_ended(tmp_path: Path, database_url: str) -> None:
    async with plane(tmp_path, database_url, {}, limits={"trainings": 2}) as running:
        trainings = running.system.trainings
        first, _ = [await create(running) for _ in range(2)]
        expected = (
            "^this key may have created at most 2 trainings that have not ended: .* set by TCSFEEL_LIMITS__TRAININGS$"
        )
        with pytest.raises(LimitReached, match=expected):
            await create(running)
        await create(running, "ci")
        await trainings.cancel(first)
        assert (await trainings.get(await create(running))).created_by == "ops"


async def test_a_refused_creation_leaves_its_idempotency_key_free(tmp_path: Path, sqlite_url: str) -> None:
    async with plane(tmp_path, sqlite_url, {}, limits={"trainings": 1}) as running:
        first, request = await create(running), IdempotentRequest("POST /v1/trainings", "k", "a" * 64)
        with acting("ops"):
            with pytest.raises(LimitReached):
                await running.system.trainings.create(CONFIG, request)
            await running.system.trainings.cancel(first)
            made = await running.system.trainings.create(CONFIG, request)
            assert await running.system.trainings.create(CONFIG, request) == made  # a repeat makes no further one


async def test_a_training_that_has_ended_runs_again_only_in_place_of_another(tmp_path: Path, sqlite_url: str) -> None:
    async with plane(tmp_path, sqlite_url, {}, limits={"trainings": 1}) as running:
        trainings = running.system.trainings
        failed = await create(running)
        async with running.system.db.begin() as tx:
            await tx.connection.exec_driver_sql("UPDATE trainings SET status = 'failed', stop_reason = 'max_rounds'")
        other = await create(running)
        for again in (
            trainings.start(failed),
            trainings.start(failed, "resume"),
            trainings.run_round(failed),
            trainings.extend(failed, lambda training: training.config),
        ):
            with pytest.raises(LimitReached):
                await again
        assert (await trainings.get(failed)).status == "failed"
        await trainings.cancel(other)
        assert await trainings.run_round(failed) == 1


async def test_a_fork_counts_as_any_other_training(tmp_path: Path, sqlite_url: str) -> None:
    async with plane(tmp_path, sqlite_url, {}, limits={"trainings": 1}) as running:
        first = await create(running)
        await running.system.models.upload(first, body(MODEL))
        start = Start(first, 0)
        with pytest.raises(LimitReached), acting("ops"):
            await running.system.trainings.fork(start, lambda training: training.config)
        with acting("ci"):
            forked = await running.system.trainings.fork(start, lambda training: training.config)
        assert forked.created_by == "ci"


async def test_the_models_of_a_caller_have_a_size_together(tmp_path: Path, database_url: str) -> None:
    limits, models = {"model_bytes": 2 * len(MODEL) - 1}, {"max_bytes": 10 * len(MODEL)}
    async with plane(tmp_path, database_url, {}, limits=limits, models=models) as running:
        first, second = [await create(running) for _ in range(2)]
        await running.system.models.upload(first, body(MODEL))
        await running.system.models.upload(first, body(OTHER))  # it replaces the one before
        with pytest.raises(StorageLimitReached) as refused:
            await running.system.models.upload(second, body(MODEL))
        assert str(refused.value) == (
            f"the models of the trainings of one key may have {2 * len(MODEL) - 1} bytes together, and "
            f"{len(MODEL) - 1} of them are left: remove models by the retention of trainings, or upload a smaller one; "
            "the limit is set by TCSFEEL_LIMITS__MODEL_BYTES"
        )
        assert list((tmp_path / "spool" / "uploads").glob("*/*")) == []
        await running.system.models.upload(await create(running, "ci"), body(MODEL))


async def test_one_model_that_is_too_large_is_told_its_own_limit(tmp_path: Path, sqlite_url: str) -> None:
    limits, models = {"model_bytes": 10 * len(MODEL)}, {"max_bytes": len(MODEL) - 1}
    async with plane(tmp_path, sqlite_url, {}, limits=limits, models=models) as running:
        with pytest.raises(FileTooLarge):
            await running.system.models.upload(await create(running), body(MODEL))
