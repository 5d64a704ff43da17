"""Updates of clients that handed over a part of their work: what they weigh, and which ones are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.weighing import AS_USUAL, BY_STEPS
from tcsfeel.agent import FitResult, Parameters, Task
from tcsfeel.wire.codec import encode
from tcsfeel.wire.tasks import TaskResult, result_metadata
from tests.clocks import FakeClock, Sleeping
from tests.planes import Adder, plane, policy
from tests.services.courses import parts
from tests.services.rounds.foreign import Foreign, join
from tests.services.rounds.test_times import SECONDS, Slow


class Stopping(Slow):
    """Does two of eight steps, if a part is wanted."""

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        assert task.partial_margin > 0
        self.steps, self.asked_steps = 2, 8
        return super().fit(parameters, task)


async def test_a_part_of_the_work_counts_by_its_steps_and_its_time_as_if_for_all(
    database_url: str, tmp_path: Path
) -> None:
    clock = FakeClock(sleeping=Sleeping.LASTS)
    trainers = {"a": Adder(1.0), "b": Adder(1.0), "c": Stopping(clock)}
    trainers["c"].step = 10.0
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(round_policy=policy(deadline_seconds=6000.0), evaluation_clients=0)
        await running.run_round(training_id)
        round_ = await running.round(training_id, 1)
        found = parts(round_)
        assert [(one.num_steps, one.asked_steps) for one in found.values()] == [(None, None)] * 2 + [(2, 8)]
        assert {name: one.weight for name, one in found.items()} == pytest.approx({"a": 4 / 9, "b": 4 / 9, "c": 1 / 9})
        assert round_.weighting == AS_USUAL + BY_STEPS
        assert await running.weight(training_id) == pytest.approx((4 + 4 + 10) / 9)
        measured = (await running.system.clients.get("c")).measured.train_seconds
        assert measured == pytest.approx(4 * SECONDS, rel=0.2)


async def test_fednova_divides_a_partial_update_by_its_steps_and_by_nothing_else(
    sqlite_url: str, tmp_path: Path
) -> None:
    # as for whole updates: shares 1/2 each, steps of 1 and 2 each, so (1/2 * 2 + 1/2 * 4) * (1/2 * 1 + 1/2 * 2) = 4.5
    trainers = {"a": Adder(2.0), "b": Adder(8.0)}
    trainers["a"].steps, trainers["b"].steps = 2, 4
    trainers["a"].asked_steps = 4
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create(aggregation="fednova", evaluation_clients=0)
        round_ = await running.run_round(training_id)
        assert (round_.weighting, parts(round_)["a"].asked_steps) == (None, 4)
        assert await running.weight(training_id) == pytest.approx(4.5)


async def test_a_partial_update_that_was_not_asked_for_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    def answer(_parameters: Parameters, task: Task) -> tuple[bytes, Any]:
        assert task.partial_margin == 0
        result = TaskResult(num_examples=10, loss=1.0, num_steps=1, partial=True, asked_steps=2)
        return encode({"w": np.ones(3, np.float32)}, result_metadata(result)), {}

    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        join(running, "a", Foreign(answer))
        round_ = await running.run_round(await running.create(aggregation="median", evaluation_clients=0))
        part = parts(round_)["a"]
        assert (part.status, part.reason) == ("rejected", "its result is partial, which was not offered")
