"""The append-only log of events. It is an audit trail, and the source of event streams.

A reader continues from the last id that it has read, so ids must become visible in order: an event that is committed
after one with a higher id would never be read. A transaction therefore collects its events and writes them at its very
end. It first takes a lock, after which only the commit follows. Since this lock is taken last, it cannot be part of a
deadlock.

The time of an event is the database's, read once for a transaction and under that lock, so that it does not depend on
which server wrote the event, and grows with the ids unless the database's clock is set back.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any

from sqlalchemy import Insert, Row, Select, bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from app.domain.events import Event
from app.origins import current_origin
from app.store.locks import Lock, hold_at, holding
from app.store.many import ManyRows
from app.store.reading import Walk, read
from app.store.tables import events
from tcsfeel.text import LONGEST, plain

_ADD = insert(events)
_GIVEN = [column for column in events.c if column.name not in {"id", "at"}]
_ADD_MANY = ManyRows(_ADD.inline(), ["at", *(column.name for column in _GIVEN)])


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """An event as it was written, with its time in unix seconds. `id` grows in the order of the log.

    An event that an earlier version wrote may have a `type` or `data` that is not in the catalog, and no `actor`.
    """

    id: int
    at: float
    type: str
    training_id: str | None
    round: int | None
    client_id: str | None
    data: Mapping[str, Any]
    actor: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, oldest first; `more` says whether others follow that match.

    `cursor` is the id after which the next page begins. If there are no more, it is the newest event of all, so that a
    reader whose filter matches few events does not search the same events again.
    """

    items: list[RecordedEvent]
    more: bool
    cursor: int


class EventRepository:
    """The log of events. A transaction appends events until it ends; readers read them in the order of ids."""

    def __init__(self, connection: AsyncConnection, clock: ColumnElement[float]) -> None:
        self._connection = connection
        self._clock = clock
        self._pending: list[dict[str, Any]] = []

    async def append(self, event: Event) -> None:
        """Add an event that is written when the transaction commits, with its actor and request."""
        origin = current_origin()
        row = {"type": event.type, **event.place(), "data": _shown(event.data())}
        self._pending.append(row | {"actor": origin.actor, "request_id": origin.request_id})

    async def write(self) -> None:
        """Write the appended events. `Database.begin` calls this just before it commits."""
        if not self._pending:
            return
        if len(self._pending) == 1:
            await self._connection.execute(_one(self._connection.dialect.name, self._clock), self._pending[0])
        else:
            at = await hold_at(self._connection, Lock.EVENTS, self._clock)
            await _ADD_MANY.write(self._connection, [{"at": at, **row} for row in self._pending])
        self._pending.clear()

    async def after(
        self,
        cursor: int,
        *,
        training_id: str | None = None,
        client_id: str | None = None,
        types: Collection[str] = (),
        limit: int,
        most_bytes: float = math.inf,
    ) -> EventPage:
        """Read at most `limit` events after a cursor: all of them, or those of a training, a client, or some types.

        The page ends with the event with which it has about `most_bytes` as JSON. The cursor of the page is correct
        only in a transaction on one snapshot, such as that of `Database.read`.
        """
        query: Select[Any] = select(events).where(events.c.id > cursor).order_by(events.c.id)
        if training_id is not None:
            query = query.where(events.c.training_id == training_id)
        if client_id is not None:
            query = query.where(events.c.client_id == client_id)
        if types:
            query = query.where(events.c.type.in_(types))
        walk = Walk()
        part = await read(
            self._connection,
            query,
            _recorded,
            lambda row: events.c.id > row.id,
            limit=limit,
            ends=lambda _: walk.weight >= most_bytes,
            walk=walk,
        )
        if part.more:
            return EventPage(part.items, more=True, cursor=part.items[-1].id)
        return EventPage(part.items, more=False, cursor=max(cursor, await self.newest()))

    async def newest(self) -> int:
        """Return the id of the newest event; 0 if there is none."""
        return (await self._connection.execute(select(func.max(events.c.id)))).scalar_one() or 0

    async def remove_oldest(self, *, before: float, up_to: int, limit: int) -> int:
        """Remove at most `limit` of the oldest events, and return how many were removed.

        It removes events that were written before a given time, or whose ids are not above `up_to`. The newest event
        always stays: if the log were empty, SQLite would use its id again, and readers would miss the next events.
        """
        query = select(events.c.id, events.c.at).order_by(events.c.id).limit(limit + 1)
        oldest = (await self._connection.execute(query)).all()
        superfluous = list(takewhile(lambda row: row.at < before or row.id <= up_to, oldest[:-1]))
        if superfluous:
            await self._connection.execute(delete(events).where(events.c.id <= superfluous[-1].id))
        return len(superfluous)


@cache
def _one(dialect: str, clock: ColumnElement[float]) -> Insert:
    """Make the statement that adds one event.

    On Postgres it waits for the lock before it reads the clock and draws the id.
    """
    if dialect != "postgresql":
        return _ADD.values(at=clock)
    held = holding(Lock.EVENTS, clock.label("at")).subquery("held")
    row = [bindparam(column.name, type_=column.type) for column in _GIVEN]
    return insert(events).from_select(["at", *(column.name for column in _GIVEN)], select(held.c.at, *row))


def _recorded(row: Row[Any]) -> RecordedEvent:
    return RecordedEvent(**row._asdict())


def _shown(data: Mapping[str, Any]) -> dict[str, Any]:
    """Change the texts of an event so that they can be stored and read."""
    return {name: _shown_value(value) for name, value in data.items()}


def _shown_value(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value, LONGEST)
    return [_shown_value(part) for part in value] if isinstance(value, tuple) else value
