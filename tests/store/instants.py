"""Time by the database's clock, which decides about removals."""

from sqlalchemy import update

from app.store.database import Database
from app.store.tables import removals


async def now(db: Database) -> float:
    async with db.glance() as tx:
        return await tx.now()


async def window_passes(db: Database) -> None:
    """For whoever is at it: its time has ended just now."""
    async with db.begin() as tx:
        instant = await tx.now()
        await tx.connection.execute(update(removals).where(removals.c.until > instant).values(until=instant))
    await later_than(db, instant)


async def later_than(db: Database, instant: float) -> float:
    """An instant after another one; of two that are near the clock may make one."""
    while (later := await now(db)) <= instant:
        pass
    return later
