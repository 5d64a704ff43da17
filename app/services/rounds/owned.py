"""Write transactions of the owner of a training, which its lease guards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from app.store.database import Database
from app.store.leases import Lease
from app.store.transaction import Transaction


class OwnedTransactions:
    """Opens them, one at a time for each training."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def begin(self, lease: Lease) -> AsyncIterator[Transaction]:
        """Open a write transaction of the training's owner. Raises `Fenced`."""
        # In a queue here, not at the training's row: a hundred participations that settle would wait there with a
        # connection each, and leave none for anybody else.
        queue = self._queues.setdefault(lease.training_id, asyncio.Lock())
        async with queue, self._db.begin() as tx:
            await tx.leases.guard(lease)
            yield tx
