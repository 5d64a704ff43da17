"""Remove many old rows a few at a time.

A transaction removes `PORTION` rows at most, and there are `PORTIONS` of them at most, so that writers wait for no more
than some milliseconds, and other housekeeping gets its turn. Several servers may do this at the same time.
"""

from collections.abc import Awaitable, Callable

from app.store.database import Database
from app.store.transaction import Transaction

PORTION = 500
PORTIONS = 200


async def in_portions(db: Database, remove: Callable[[Transaction, int], Awaitable[int]]) -> int:
    """Call `remove` with a transaction and the most rows that it may remove, until it removes fewer.

    Returns how many rows were removed in all, which may not be all that are old.
    """
    removed = 0
    for _ in range(PORTIONS):
        async with db.begin() as tx:
            portion = await remove(tx, PORTION)
        removed += portion
        if portion < PORTION:
            break
    return removed
