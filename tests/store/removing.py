"""The steps of a removal, each in a transaction of its own."""

from app.store.database import Database


async def request(db: Database, *names: str) -> None:
    async with db.begin() as tx:
        await tx.removals.request(names)


async def due(db: Database, delay: float = 0.0) -> list[str]:
    async with db.read() as tx:
        return await tx.removals.due(delay, 10)


async def begin(db: Database, name: str) -> float | None:
    async with db.begin() as tx:
        return await tx.removals.begin(name)


async def end(db: Database, name: str, until: float) -> bool:
    async with db.begin() as tx:
        return await tx.removals.end(name, until)


async def check(db: Database, since: float, *names: str) -> None:
    async with db.begin() as tx:
        await tx.removals.check(names, since)


async def removed(db: Database, *names: str) -> list[str]:
    async with db.read() as tx:
        return sorted(await tx.removals.removed(names))
