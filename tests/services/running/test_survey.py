"""The gauges of the database and of the disks are brought up to date at each scrape, where these answer."""

import asyncio
import math
from pathlib import Path

from structlog.testing import capture_logs

from app.metrics import Metrics
from app.services.fleet.signs import SignsOfLife
from app.services.running.survey import Survey
from app.store.database import Database
from app.store.spools import SpooledFiles
from tests.clocks import FakeClock
from tests.silence import silence
from tests.store.samples import training


def survey_of(
    db: Database, counts: Metrics, *, spools: SpooledFiles | None = None, seconds: float = 5.0, **places: Path
) -> Survey:
    clock = FakeClock()
    signs = SignsOfLife(db, clock, interval=30.0)
    files = SpooledFiles() if spools is None else spools
    return Survey(db, clock, counts, spools=files, signs=signs, places=places, seconds=seconds)


def gauge(counts: Metrics, name: str, **labels: str) -> float | None:
    return counts.registry.get_sample_value(f"federated_{name}", labels)


async def test_what_the_database_says_is_shown(db: Database, counts: Metrics) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training("a", status="running", current_round=12, best_round=2))
    await survey_of(db, counts).take()
    assert gauge(counts, "trainings", status="running") == 1
    assert gauge(counts, "trainings", status="failed") == 0
    assert gauge(counts, "rounds_since_best", training="a") == 10
    assert gauge(counts, "mailbox_tasks") == gauge(counts, "round_overdue_seconds") == 0
    assert (gauge(counts, "database_bytes") or 0) > 0


async def test_a_training_that_ended_loses_its_label(sqlite: Database, counts: Metrics) -> None:
    async with sqlite.begin() as tx:
        await tx.trainings.add(training("a", status="running", current_round=12, best_round=2))
    survey = survey_of(sqlite, counts)
    await survey.take()
    async with sqlite.begin() as tx:
        one = await tx.trainings.get("a", for_update=True)
        object.__setattr__(one, "status", "completed")
        await tx.trainings.put(one)
    await survey.take()
    assert gauge(counts, "rounds_since_best", training="a") is None


async def test_measurements_are_those_that_another_server_stored_meanwhile(sqlite: Database, counts: Metrics) -> None:
    counts.show_measurements("a", accuracy=0.5, metric="auc", value=0.25)
    counts.show_measurements("gone", accuracy=0.5, metric="auc", value=0.25)
    async with sqlite.begin() as tx:
        await tx.trainings.add(training("a", accuracy=0.875))
    await survey_of(sqlite, counts).take()
    assert gauge(counts, "round_accuracy", training="a") == 0.875
    assert gauge(counts, "goal_value", training="a", metric="auc") is None
    assert gauge(counts, "round_accuracy", training="gone") is None
    assert counts.shown_trainings == ["a"]


async def test_disks_are_measured_where_a_directory_is_or_will_be(
    sqlite: Database, counts: Metrics, tmp_path: Path
) -> None:
    await survey_of(sqlite, counts, data=tmp_path, spool=tmp_path / "not" / "yet").take()
    for place in ("data", "spool"):
        free, size = (gauge(counts, f"disk_{name}_bytes", place=place) for name in ("free", "size"))
        assert free is not None
        assert size is not None
        assert 0 < free <= size


async def test_a_disk_that_does_not_say_is_not_a_number(sqlite: Database, counts: Metrics, tmp_path: Path) -> None:
    await survey_of(sqlite, counts, data=tmp_path / ("x" * 300)).take()
    assert math.isnan(gauge(counts, "disk_free_bytes", place="data") or 0)


async def test_the_memory_of_spools_is_shown_with_its_limit(sqlite: Database, counts: Metrics, tmp_path: Path) -> None:
    files = SpooledFiles(most=100)
    survey_of(sqlite, counts, spools=files)
    assert files.add(tmp_path, ("a", "b"), b"x" * 40)
    assert gauge(counts, "spool_memory_bytes") == 40
    assert gauge(counts, "spool_memory_limit_bytes") == 100


async def test_a_database_that_says_nothing_leaves_its_gauges_and_holds_up_nobody(
    counts: Metrics, tmp_path: Path
) -> None:
    counts.state.show_mailbox(tasks=7, oldest_seconds=1.0)
    async with silence() as mute:
        db = Database(mute.url)
        survey = survey_of(db, counts, seconds=0.05, data=tmp_path)
        with capture_logs() as logs:
            async with asyncio.timeout(20):
                await survey.take()
        survey.close()
        await db.dispose()
    assert [(line["event"], line["of"]) for line in logs] == [("some metrics keep their last values", "the database")]
    assert gauge(counts, "mailbox_tasks") == 7
    assert (gauge(counts, "vitals_age_seconds") or 0) > 0
    assert (gauge(counts, "disk_free_bytes", place="data") or 0) > 0
