"""What comes of clients' tasks, as participations. `test_checking.py` and others have what is wrong with results."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from app.domain.rounds import Participation
from app.domain.tasks import TaskRun
from app.domain.trainings import TrainingConfig
from app.services.rounds.files import RoundFiles
from app.services.rounds.results import figures
from app.services.tasks.assignments import Result, TaskOutcome
from app.store.model_store import ModelStore
from app.store.spools import Spool, SpooledFiles
from app.traces import Step
from app.turns import PER_PASS
from tcsfeel.aggregation.goals import Goal
from tcsfeel.wire.codec import encode
from tcsfeel.wire.sizes import EVALUATION
from tcsfeel.wire.tasks import TaskResult, result_metadata
from tests.planes import Adder, plane
from tests.services.rounds.phases import phase


async def test_an_answer_that_is_missing_is_no_mean_and_no_update(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        results = running.system.participants.results
        this, part = phase(ModelStore(tmp_path / "spool")), Participation(client_id="a", status="training")
        client = await running.system.clients.get("a")
        gone = TaskOutcome(TaskRun(), reason="gone")
        for ended, _ in (
            await results.checked(this, part, client, gone),
            await results.measured(this, part, client, gone),
        ):
            assert (ended.status, ended.reason) == ("failed", "gone")
        assert this.runs["a"].over  # and is not carried into another round
        assert figures(TaskResult(num_examples=3, loss=0.5, accuracy=0.25)) == {
            "num_examples": 3, "loss": 0.5, "accuracy": 0.25, "metrics": {"accuracy": 0.25},
        }  # fmt: skip


async def test_answers_that_are_checked_on_the_event_loop_take_turns(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, checked = 0, list[int]()

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        client, results = await running.system.clients.get("a"), running.system.participants.results
        this = phase(Spool(tmp_path / "spool", SpooledFiles()), kind="evaluate", size=EVALUATION)
        file = this.place("a").write([encode({}, result_metadata(TaskResult(num_examples=3, loss=0.5)))])
        outcome = TaskOutcome(TaskRun(), Result(file, "identity", 0.0))
        part = Participation(client_id="a", status="training", kind="evaluate")
        monkeypatch.setattr(RoundFiles, "measurement", lambda *_: checked.append(passes))
        counting = asyncio.create_task(count())
        await asyncio.gather(*(results.measured(this, part, client, outcome) for _ in range(3 * PER_PASS)))
        counting.cancel()
    assert len(checked) == 3 * PER_PASS
    assert max(Counter(checked).values()) <= PER_PASS


async def test_only_a_measurement_that_counts_is_traced(sqlite_url: str, tmp_path: Path) -> None:
    class Traced(Step):
        def worked(self, kind: str, seconds: float, upload_seconds: float) -> None:
            assert (kind, seconds, upload_seconds) == ("evaluate", 2.0, 1.0)
            ends.append("traced")

    ends: list[str] = []
    said = TaskResult(num_examples=3, loss=0.5, accuracy=0.25, train_seconds=2.0)
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        client = await running.system.clients.get("a")
        for metric in ("f1", "accuracy"):
            config = TrainingConfig(name="t", goal=Goal(metric=metric, target=1.0))
            this = phase(Spool(tmp_path / "spool", SpooledFiles()), kind="evaluate", size=EVALUATION, config=config)
            file = this.place("a").write([encode({}, result_metadata(said))])
            outcome = TaskOutcome(TaskRun(), Result(file, "identity", 0.0, upload_seconds=1.0), exchange=Traced())
            part = Participation(client_id="a", status="training", kind="evaluate")
            ended, _ = await running.system.participants.results.measured(this, part, client, outcome)
            ends.append(ended.status)
    assert ends == ["rejected", "traced", "received"]
