"""Removing old events, by age and by number.

Many servers may do this at the same time. A transaction removes `PORTION` events at most, and a tick has `PORTIONS` of
them at most, so that writers wait for no more than some milliseconds, and other housekeeping gets its turn.
"""

import math

import structlog

from app.settings import EventSettings
from app.store.database import Database

PORTION = 500
PORTIONS = 200
_DAY = 86_400.0

log = structlog.get_logger(__name__)


class EventRetention:
    """Applies what the settings say of how long events are kept."""

    def __init__(self, db: Database, settings: EventSettings) -> None:
        self._db = db
        self._settings = settings

    async def tick(self) -> None:
        """Remove events that are too old, or too many. Without a setting all events stay."""
        days, count = self._settings.keep_days, self._settings.keep_last
        if days is None and count is None:
            return
        async with self._db.read() as tx:
            before = -math.inf if days is None else await tx.now() - days * _DAY
            up_to = 0 if count is None else await tx.events.newest() - count
        removed = 0
        for _ in range(PORTIONS):
            async with self._db.begin() as tx:
                portion = await tx.events.remove_oldest(before=before, up_to=up_to, limit=PORTION)
            removed += portion
            if portion < PORTION:
                break
        if removed:
            log.info("removed old events", events=removed)
