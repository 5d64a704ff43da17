"""Removing old records of the audit trail, by age.

Only the oldest records are removed, so the others stay one chain: the first of them names the hash of the last one that
was removed. Many servers may do this at the same time, in portions, so that writers wait for some milliseconds at most.
"""

import structlog

from app.sections import AuditSettings
from app.store.database import Database

PORTION = 500
PORTIONS = 200
_DAY = 86_400.0

log = structlog.get_logger(__name__)


class AuditRetention:
    """Applies what the settings say of how long audit records are kept."""

    def __init__(self, db: Database, settings: AuditSettings) -> None:
        self._db = db
        self._settings = settings

    async def tick(self) -> None:
        """Remove records that are too old. Without a setting all records stay."""
        if self._settings.keep_days is None:
            return
        async with self._db.read() as tx:
            before = await tx.now() - self._settings.keep_days * _DAY
        removed = 0
        for _ in range(PORTIONS):
            async with self._db.begin() as tx:
                portion = await tx.audit.remove_oldest(before=before, limit=PORTION)
            removed += portion
            if portion < PORTION:
                break
        if removed:
            log.info("removed old audit records", records=removed)
