"""The parts of results that have not come in as a whole, as rows. The row of their task is locked meanwhile."""

from dataclasses import asdict
from typing import NamedTuple

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.uploads import UploadPart
from app.store.tables import upload_parts


class HeldBytes(NamedTuple):
    """How many bytes of unfinished uploads are stored."""

    of_client: int
    of_all: int


class UploadRepository:
    """The parts of unfinished uploads."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def parts(self, task_id: str) -> list[UploadPart]:
        """Read what has come in of the result of a task, from its beginning."""
        query = select(upload_parts).where(upload_parts.c.task_id == task_id).order_by(upload_parts.c.begins)
        return [UploadPart(**row) for row in (await self._connection.execute(query)).mappings()]

    async def held(self, client_id: str) -> HeldBytes:
        """Count the bytes of the unfinished uploads of a client, and of all clients."""
        size, own = upload_parts.c.size, upload_parts.c.client_id == client_id
        query = select(func.coalesce(func.sum(size).filter(own), 0), func.coalesce(func.sum(size), 0))
        of_client, of_all = (await self._connection.execute(query)).one()
        return HeldBytes(int(of_client), int(of_all))

    async def add(self, part: UploadPart) -> None:
        """Store a part. The caller has checked that it begins where the one before it ends."""
        await self._connection.execute(insert(upload_parts).values(asdict(part)))

    async def drop(self, task_id: str) -> set[str]:
        """Forget the parts of a task. Returns the names of their files, which the caller lets be removed."""
        gone = delete(upload_parts).where(upload_parts.c.task_id == task_id).returning(upload_parts.c.sha256)
        return set((await self._connection.execute(gone)).scalars())
