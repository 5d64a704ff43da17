"""Find out, at each scrape of the metrics, what the database says of trainings and tasks, and how full the disks are.

Neither may hold up a scrape: a database or a disk that does not answer leaves the gauges as they are, and one question
at a time is sent to it.
"""

import asyncio
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.clock import Clock
from app.metrics import Metrics
from app.services.fleet.inquiries import Inquiry
from app.services.fleet.signs import SignsOfLife
from app.store.database import Database, in_a_line
from app.store.spools import SpooledFiles
from app.threads import in_thread

TIMEOUT_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Survey:
    """Brings the gauges of the database and of the disks at `places` up to date. `places` are directories by name."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        metrics: Metrics,
        *,
        spools: SpooledFiles,
        signs: SignsOfLife,
        places: Mapping[str, Path],
        seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._db = db
        self._clock = clock
        self._metrics = metrics
        self._places = places
        metrics.state.spool_memory.set_function(lambda: spools.held)
        metrics.state.spool_memory_limit.set(spools.most)
        metrics.state.heartbeats_waiting.set_function(lambda: signs.waiting)
        self._questions = {
            "the database": Inquiry(self._ask_database, seconds=seconds),
            "the disks": Inquiry(self._look_at_disks, seconds=seconds),
        }

    async def take(self) -> None:
        """Ask the database and look at the disks. What fails is logged and leaves its gauges as they are."""
        await asyncio.gather(*map(self._ask, self._questions))

    def close(self) -> None:
        """Call off what is under way."""
        for question in self._questions.values():
            question.close()

    async def _ask(self, name: str) -> None:
        try:
            await self._questions[name].answer()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("some metrics keep their last values", of=name, reason=in_a_line(error))

    async def _ask_database(self) -> None:
        metrics = self._metrics
        shown = metrics.shown_trainings
        async with self._db.read() as tx:
            vitals = await tx.vitals.read(self._clock.now(), shown)
        for training_id in shown:
            measured = vitals.measured.get(training_id)
            if measured is None:
                metrics.hide_measurements(training_id)
            else:
                metrics.correct_measurements(training_id, accuracy=measured.accuracy, value=measured.value)
        metrics.state.show_since_best(vitals.since_best)
        metrics.state.show_mailbox(tasks=vitals.offered, oldest_seconds=vitals.offered_seconds)
        metrics.state.failing_webhooks.set(vitals.failing_webhooks)
        metrics.state.show_database(
            size=vitals.size, overdue_seconds=vitals.overdue_seconds, by_status=vitals.trainings
        )

    async def _look_at_disks(self) -> None:
        for place, (free, size) in (await in_thread("administration", _usage, self._places)).items():
            self._metrics.state.show_disk(place, free=free, size=size)


def _usage(places: Mapping[str, Path]) -> dict[str, tuple[float, float]]:
    """Return how many bytes are free, and how many there are, on the disk of each place."""
    return {place: _room(directory) for place, directory in places.items()}


def _room(directory: Path) -> tuple[float, float]:
    try:
        existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        usage = shutil.disk_usage(existing)
    except OSError:
        return math.nan, math.nan
    return float(usage.free), float(usage.total)
