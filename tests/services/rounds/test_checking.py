"""An answer is parsed once, in one call of a thread if it is not small, and goes as soon as it has been read."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import threads
from app.domain.trainings import Uploads
from app.services.rounds.files import SPARES, RoundFiles
from tcsfeel.agent import EvaluateResult, Parameters, Task
from tcsfeel.wire import headers
from tests.planes import PATIENCE, Adder, Plane, plane, until
from tests.services.courses import has_received
from tests.services.rounds.foreign import BOTH, INT8

CHECKS = "tcsfeel-checks"  # the name of the threads that check answers


class Watched(Adder):
    """An adder that measures only when it is told to."""

    def __init__(self, step: float = 1.0) -> None:
        super().__init__(step)
        self.measures = threading.Event()

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        assert self.measures.wait(PATIENCE)
        return super().evaluate(parameters, task)


def count_in_checks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the headers that are parsed in the threads that check answers, and the calls of these threads."""
    counts: Counter[str] = Counter()
    parse, run = headers.parse_header, threads.Pool.run

    def counted_parse(text: memoryview, *expected: Any) -> Any:
        counts["headers"] += threading.current_thread().name == CHECKS
        return parse(text, *expected)

    async def counted_run(self: threads.Pool, function: Callable[[], Any], **options: Any) -> Any:
        def counted() -> Any:
            counts["calls"] += threading.current_thread().name == CHECKS
            return function()

        return await run(self, counted, **options)

    monkeypatch.setattr("tcsfeel.wire.codec.parse_header", counted_parse)
    monkeypatch.setattr(threads.Pool, "run", counted_run)
    return counts


@pytest.mark.parametrize(
    "uploads", [Uploads(), INT8, BOTH, Uploads(compression="zstd")], ids=["full", "int8", "int8-zstd", "zstd"]
)
async def test_an_update_is_parsed_once_in_one_call_of_a_thread(
    sqlite_url: str, tmp_path: Path, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.spools.SMALL_BYTES", -1)
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0), "b": Adder(3.0)}) as running:
        counts = count_in_checks(monkeypatch)
        training_id = await running.create(uploads=uploads, evaluation_clients=0)
        round_ = await running.run_round(training_id)
        assert {part.status for part in round_.participations} == {"received"}
        assert counts == {"headers": 2, "calls": 2}, "once for each of two clients, whose labels are not known"


@pytest.mark.parametrize("uploads", [Uploads(), INT8], ids=["full", "int8"])
async def test_a_small_update_is_checked_without_a_thread(
    sqlite_url: str, tmp_path: Path, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0), "b": Adder(3.0)}) as running:
        counts = count_in_checks(monkeypatch)
        round_ = await running.run_round(await running.create(uploads=uploads, evaluation_clients=0))
        assert {part.status for part in round_.participations} == {"received"}
        assert counts["calls"] == 0


@pytest.mark.parametrize("small", [-1, 1 << 16])
async def test_a_measurement_is_parsed_once_in_one_call_of_a_thread_if_it_is_not_small(
    sqlite_url: str, tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.spools.SMALL_BYTES", small)
    trainer = Watched()
    async with plane(tmp_path, sqlite_url, {"a": trainer}) as running:
        training_id = await running.create()
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: is_evaluating(running, training_id))
        counts = count_in_checks(monkeypatch)
        trainer.measures.set()
        round_ = await running.ended(training_id, 1)
    assert round_.average_loss == 1.0
    assert (counts["headers"], counts["calls"]) == ((1, 1) if small < 0 else (0, 0))


async def test_files_go_as_soon_as_they_have_been_read(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurement, read = RoundFiles.measurement, asyncio.Event()
    loop = asyncio.get_running_loop()

    def noted(*args: Any) -> Any:
        measured = measurement(*args)
        loop.call_soon_threadsafe(read.set)
        return measured

    monkeypatch.setattr(RoundFiles, "measurement", noted)
    monkeypatch.setattr("app.store.spools.SMALL_BYTES", -1)
    quick, slow = Watched(), Watched()
    async with plane(tmp_path, sqlite_url, {"quick": quick, "slow": slow}) as running:
        slow.open.clear()
        training_id = await running.create()
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: has_received(running, training_id, 1))
        assert len(files_of(tmp_path)) == 1, "the update is needed until the new model is stored"
        slow.open.set()
        await until(lambda: is_evaluating(running, training_id))
        quick.measures.set()
        await asyncio.wait_for(read.wait(), PATIENCE)
        left = files_of(tmp_path)
        assert await is_evaluating(running, training_id)
        slow.measures.set()
        await running.ended(training_id, 1)
    assert left == [], "neither the updates nor the measurement are of use any more"


async def is_evaluating(running: Plane, training_id: str) -> bool:
    rounds = (await running.system.trainings.rounds(training_id, limit=1, before=2)).items
    return [round_.status for round_ in rounds] == ["evaluating"]


def files_of(directory: Path) -> list[Path]:
    """The files of all spools, without those that are kept to be written again."""
    found = [path for path in (directory / "spool").rglob("*") if path.is_file()]
    return [path for path in found if path.parent.name != SPARES]
