"""Open write transactions for the owner of a training, guarded by its lease."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from app.services.rounds.known import Known, KnownTrainings
from app.store.database import Database
from app.store.leases import Lease
from app.store.transaction import Transaction


class OwnedTransactions:
    """Opens write transactions, one at a time for each training, and remembers what their owners know."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._known = KnownTrainings()

    def known(self, lease: Lease) -> Known:
        """What the owner with this lease knows of its training."""
        return self._known.by(lease)

    @asynccontextmanager
    async def begin(self, lease: Lease) -> AsyncIterator[Transaction]:
        """Open a write transaction of the training's owner. Raises `Fenced`."""
        # Callers queue here and not at the training's row, because a hundred participations would wait there with a
        # connection each, and leave none for others.
        queue = self._queues.setdefault(lease.training_id, asyncio.Lock())
        async with queue:
            try:
                async with self._db.begin() as tx:
                    tx.trainings.hold(await tx.leases.guard(lease))
                    yield tx
            except BaseException:  # nothing tells whether it was committed
                known = self.known(lease)
                known.training = known.version = known.sketches = None
                raise
            self.known(lease).training = tx.trainings.held
