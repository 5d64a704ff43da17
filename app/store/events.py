"""The append-only log of what happened: audit trail, and the feed that event streams are served from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import events


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
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def append(  # the fields of one event
        self,
        event_type: str,
        now: float,
        *,
        training_id: str | None = None,
        round_number: int | None = None,
        client_id: str | None = None,
        **data: Any,
    ) -> None:
        row = {
            "at": now,
            "type": event_type,
            "training_id": training_id,
            "round": round_number,
            "client_id": client_id,
            "data": data,
        }
        await self._connection.execute(insert(events).values(row))

    async def after(self, event_id: int, *, training_id: str | None, limit: int) -> list[Event]:
        """At most `limit` events beyond `event_id`, oldest first, of one training or of all."""
        query = select(events).where(events.c.id > event_id).order_by(events.c.id).limit(limit)
        if training_id is not None:
            query = query.where(events.c.training_id == training_id)
        return [Event(**row) for row in (await self._connection.execute(query)).mappings()]
