"""Transactions that hold one lock take turns, and those that hold others do not wait for them."""

import asyncio

from app.store.database import Database
from app.store.locks import Lock, hold, hold_at


async def test_transactions_with_the_same_lock_take_turns_and_others_do_not_wait(postgres_url: str) -> None:
    db = Database(postgres_url)
    order: list[str] = []

    async def write(name: str, lock: Lock) -> None:
        async with db.begin() as tx:
            await hold(tx.connection, lock)
            order.append(name)

    async with db.begin() as tx:
        await hold(tx.connection, Lock.KEYS)
        same = asyncio.create_task(write("same", Lock.KEYS))
        for lock in set(Lock) - {Lock.KEYS}:
            await write(lock.name, lock)
        order.append("first")
    await same
    await db.dispose()
    assert order[-2:] == ["first", "same"]
    assert set(order[:-2]) == {lock.name for lock in Lock} - {"KEYS"}


async def test_the_time_of_a_turn_is_the_databases(db: Database) -> None:
    async with db.begin() as tx:
        before = await tx.now()
        at = await hold_at(tx.connection, Lock.EVENTS, db.clock)
        assert before <= at <= await tx.now()
