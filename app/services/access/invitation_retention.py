"""Removing invitations that cannot be used any more.

One that is used up stays until it expires, because a device that got no answer repeats its enrolment with it. Devices
that have enrolled with a removed invitation keep their keys, and their clients still name it.
"""

import structlog

from app.clock import Clock
from app.store.database import Database
from app.store.portions import in_portions

_DAY = 86_400.0

log = structlog.get_logger(__name__)


class InvitationRetention:
    """Removes invitations that ended longer ago than the settings allow. Several servers may do this at once."""

    def __init__(self, db: Database, clock: Clock, *, days: float) -> None:
        self._db = db
        self._clock = clock
        self._seconds = days * _DAY

    async def tick(self) -> None:
        """Remove invitations that expired or were revoked long ago."""
        before = self._clock.now() - self._seconds
        removed = await in_portions(self._db, lambda tx, limit: tx.invitations.remove_ended(before=before, limit=limit))
        if removed:
            log.info("removed old invitations", invitations=removed)
