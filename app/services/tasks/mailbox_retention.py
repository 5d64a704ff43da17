"""Remove tasks from the mailbox whose deadline has long passed, with the files that only they name."""

from app.clock import Clock
from app.domain.mailbox import KEPT_SECONDS
from app.store.database import Database

BATCH = 100  # tasks that one transaction removes


class MailboxRetention:
    """For tasks of every owner, also of those that died before they cancelled them."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def tick(self) -> None:
        """Remove the tasks that nothing needs."""
        while await self._remove() == BATCH:
            pass

    async def _remove(self) -> int:
        async with self._db.glance() as tx:
            expired = await tx.mailbox.expired(self._clock.now() - KEPT_SECONDS, BATCH)
        if expired:
            async with self._db.begin() as tx:
                freed = await tx.mailbox.cancel(expired)
                await tx.removals.request(freed, at_once=True)
                await tx.mailbox.remove(expired)
        return len(expired)
