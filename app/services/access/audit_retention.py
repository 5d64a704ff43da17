"""Removing old records of the audit trail, by age.

Only the oldest records are removed, so the others stay one chain: the first of them names the hash of the last one that
was removed.
"""

import structlog

from app.settings import AuditSettings
from app.store.database import Database
from app.store.portions import in_portions

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
        removed = await in_portions(self._db, lambda tx, limit: tx.audit.remove_oldest(before=before, limit=limit))
        if removed:
            log.info("removed old audit records", records=removed)
