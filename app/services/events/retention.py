"""Removing old events, by age and by number."""

import math

import structlog

from app.settings import EventSettings
from app.store.database import Database
from app.store.portions import in_portions

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
        removed = await in_portions(
            self._db, lambda tx, limit: tx.events.remove_oldest(before=before, up_to=up_to, limit=limit)
        )
        if removed:
            log.info("removed old events", events=removed)
