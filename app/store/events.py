"""The append-only log of what happened: audit trail, and the feed that event streams are served from.

A reader goes on from the last id that it saw, so ids must become visible in their order: an event that is committed
after one with a higher id would never be read. A transaction therefore keeps its events until its last moment, and
there takes a lock that only its commit stands behind. Asked for last of all, the lock cannot be part of a deadlock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import events
from tcsfeel.text import LONGEST, plain

_LOCK = 7_261_904_404  # any number that nobody else uses


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened, at an instant in unix seconds. `id` grows in the order of the log."""

    id: int
    at: float
    type: str
    training_id: str | None
    round: int | None
    client_id: str | None
    data: Mapping[str, Any]


class EventRepository:
    """The log: appended to until a transaction ends, read in the order of its ids."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._pending: list[dict[str, Any]] = []

    async def append(
        self,
        event_type: str,
        now: float,
        *,
        training_id: str | None = None,
        round_number: int | None = None,
        client_id: str | None = None,
        **data: Any,
    ) -> None:
        """Have the event written when the transaction commits."""
        row = {
            "at": now,
            "type": event_type,
            "training_id": training_id,
            "round": round_number,
            "client_id": client_id,
            "data": {name: plain(value, LONGEST) if isinstance(value, str) else value for name, value in data.items()},
        }
        self._pending.append(row)

    async def write(self) -> None:
        """Write what was appended. `Database.begin` calls this, and then commits."""
        if not self._pending:
            return
        if self._connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
            await self._connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        await self._connection.execute(insert(events), self._pending)
        self._pending.clear()

    async def after(self, event_id: int, *, training_id: str | None, limit: int) -> list[Event]:
        """At most `limit` events beyond `event_id`, oldest first, of one training or of all."""
        query = select(events).where(events.c.id > event_id).order_by(events.c.id).limit(limit)
        if training_id is not None:
            query = query.where(events.c.training_id == training_id)
        return [Event(**row) for row in (await self._connection.execute(query)).mappings()]
