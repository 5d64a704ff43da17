"""The locks by which transactions on Postgres take turns. SQLite has one writer at a time anyway.

A transaction holds a lock until it ends. One that needs several takes them in the order in which they are listed here.
"""

from enum import IntEnum, unique
from functools import cache
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement


@unique
class Lock(IntEnum):
    """What there is a lock for. The numbers are any that nothing else in the database uses."""

    MIGRATIONS = 7_261_904_403
    KEYS = 7_261_904_405
    AUDIT = 7_261_904_406
    EVENTS = 7_261_904_404


async def hold(connection: AsyncConnection, lock: Lock) -> None:
    """Wait until this transaction has a lock."""
    if connection.dialect.name == "postgresql":
        await connection.execute(holding(lock))


async def hold_at(connection: AsyncConnection, lock: Lock, clock: ColumnElement[float]) -> float:
    """Wait until this transaction has a lock, and return the database's time at that moment."""
    query = holding(lock, clock) if connection.dialect.name == "postgresql" else _time(clock)
    return float((await connection.execute(query)).one()[-1])


@cache
def holding(lock: Lock, *then: ColumnElement[float]) -> Select[Any]:
    """Make a query that waits for a lock on Postgres, and then evaluates other expressions."""
    return select(func.pg_advisory_xact_lock(lock.value), *then)  # the lock is taken before the clock is read


@cache
def _time(clock: ColumnElement[float]) -> Select[Any]:
    return select(clock)
