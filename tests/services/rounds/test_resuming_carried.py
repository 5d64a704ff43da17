"""The owner of a training that dies while tasks are carried, and its successor, which goes on with them."""

import shutil
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.carrying import CARRIED
from app.domain.lateness import NOT_CALLED
from app.domain.trainings import RoundPolicy, TrainingConfig, Uploads
from tcsfeel.wire.codec import encode
from tests.clocks import FakeClock
from tests.planes import Adder, plane, until
from tests.services.courses import is_driven_to_its_end, parts, statuses
from tests.services.rounds.owners import owner
from tests.services.rounds.test_carrying import STALE, carrying, one_late
from tests.services.rounds.test_resuming import killed
from tests.store.samples import NOW, training

SAME, OTHER = False, True  # the machine of the successor
POINTS = [
    ("before", "planned", SAME), ("after", "planned", SAME), ("before", "settled", SAME), ("after", "settled", OTHER),
    ("after", "frozen", SAME), ("after", "frozen", OTHER), ("before", "committed", OTHER), ("after", "committed", SAME),
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
async def test_a_carried_task_survives_the_owner_of_its_training(
    database_url: str, tmp_path: Path, point: tuple[str, str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    trainers = {name: Adder(1.0) for name in "abc"} | {"d": Adder(4.0)}
    trainers["d"].open.clear()
    async with plane(tmp_path, database_url, trainers, clock=clock) as first:
        training_id = await first.create(max_rounds=2, uploads=Uploads(encoding="int8"), **carrying())
        await one_late(first, clock, training_id)
        trainers["d"].open.set()
        when, step, lost = point
        await killed(first, training_id, monkeypatch, when, step)
        if lost:
            shutil.rmtree(tmp_path / "spool", ignore_errors=True)
        async with plane(tmp_path, database_url, trainers, host=first.host, register=False, clock=clock) as second:
            await until(lambda: is_driven_to_its_end(second, training_id))
            round_ = await second.round(training_id, 2)
            assert statuses(round_) == dict.fromkeys("abcd", "received")
            assert (parts(round_)["d"].begun_in, parts(round_)["d"].staleness) == (1, 1)
            share = STALE / (3 + STALE)
            assert await second.weight(training_id) == pytest.approx((1 - share) * 2.0 + share * 5.0, rel=1e-5)
            assert [list(trainer.fitted.values()) for trainer in trainers.values()] == [[1, 1]] * 3 + [[1]]
            assert parts(await second.round(training_id, 1))["d"].carried_to == 2


@pytest.mark.parametrize(
    ("fresh", "end"), [(False, ("carried", CARRIED)), (True, ("skipped", NOT_CALLED))], ids=["successor", "planner"]
)
async def test_a_successor_that_has_no_place_to_ask_a_client_lets_it_keep_its_task(
    sqlite_url: str, tmp_path: Path, fresh: bool, end: tuple[str, str]
) -> None:
    """Only the process that has just planned the round knows that nobody has handed the task over."""
    async with owner(tmp_path, sqlite_url, {"a": "received", "b": "training"}, goal=2) as value:
        engine = value.engine
        engine._ledger.known(value.lease).fresh = fresh
        dispatcher = engine._participants._dispatcher
        base = engine._files.models.write([encode({"w": np.zeros(3, np.float32)})]).sha256
        policy = RoundPolicy(stragglers="carry", max_staleness=2, quorum=0.5)
        stored = training(config=TrainingConfig(name="test", round_policy=policy))
        async with value.system.db.begin() as tx:
            await tx.trainings.configure(stored)

        async def waits_for_a_place() -> bool:
            return bool(dispatcher._tasks)

        value.clock.meanwhile = lambda: until(waits_for_a_place)
        async with AsyncExitStack() as places:
            while not dispatcher._places.crowded:
                await places.enter_async_context(dispatcher.place())
            a, b = value.round_.participations
            just_now = (replace(a, finished_at=NOW), b)
            before = replace(value.round_, base_model=base, participations=just_now)
            round_ = await engine._train(value.lease, stored, before)
            assert (round_.status, value.agents.calls) == ("aggregating", [])
        late = round_.participations[1]
        assert (late.status, late.reason, late.attempts) == (*end, 0)
