"""Remember which resource a request with an ``Idempotency-Key`` made, so that a repeat returns the same one."""

from dataclasses import dataclass

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.inserts import insert_missing
from app.store.tables import idempotency_keys


@dataclass(frozen=True, slots=True)
class Remembered:
    """The resource that a key stands for, and the digest of the request that made it."""

    resource: str
    request_sha256: str


class IdempotencyRepository:
    """Keys, each within the scope of one operation."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(self, scope: str, key: str, claimed: Remembered, now: float) -> Remembered | None:
        """Remember `claimed` under the key. Returns what is stored already if the key was used before."""
        row = {
            "scope": scope,
            "key": key,
            "resource": claimed.resource,
            "request_sha256": claimed.request_sha256,
            "created_at": now,
        }
        statement = insert_missing(self._connection, idempotency_keys).returning(idempotency_keys.c.key)
        if (await self._connection.execute(statement, row)).scalar() is not None:
            return None
        query = select(idempotency_keys).where(idempotency_keys.c.scope == scope, idempotency_keys.c.key == key)
        found = (await self._connection.execute(query)).one()
        return Remembered(found.resource, found.request_sha256)

    async def remove_oldest(self, *, before: float, limit: int) -> int:
        """Remove at most `limit` of the keys that were used before a given time. Return how many were removed."""
        columns = idempotency_keys.c
        query = select(columns.scope, columns.key).where(columns.created_at < before)
        oldest = (await self._connection.execute(query.order_by(columns.created_at).limit(limit))).all()
        if oldest:
            names = [(row.scope, row.key) for row in oldest]
            await self._connection.execute(
                delete(idempotency_keys).where(tuple_(columns.scope, columns.key).in_(names))
            )
        return len(oldest)
