"""Which resource a request with an ``Idempotency-Key`` made, so that its repeat gives the same one."""

from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import idempotency_keys


@dataclass(frozen=True, slots=True)
class Remembered:
    """The resource that a key stands for, and the digest of the request that made it."""

    resource: str
    request_sha256: str


class IdempotencyRepository:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, scope: str, key: str) -> Remembered | None:
        query = select(idempotency_keys).where(idempotency_keys.c.scope == scope, idempotency_keys.c.key == key)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else Remembered(row.resource, row.request_sha256)

    async def remember(self, scope: str, key: str, remembered: Remembered, now: float) -> None:
        row = {
            "scope": scope,
            "key": key,
            "resource": remembered.resource,
            "request_sha256": remembered.request_sha256,
            "created_at": now,
        }
        await self._connection.execute(insert(idempotency_keys).values(row))
