"""The audit trail: records of calls, numbered without gaps over all servers, each with the hash of the one before it.

A transaction that appends takes a lock first, which it holds until it commits. So it knows the record that is the last
one. It reads and writes nothing else, so the lock cannot be part of a deadlock.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import Any

from sqlalchemy import Row, Select, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from app.domain.audit import STATUSES, AuditRecord, Call, Head, Result, hashed_fields
from app.store.locks import Lock, hold_at
from app.store.reading import LISTED, SHORT, Part, Walk, read
from app.store.tables import audit
from tcsfeel.audit import GENESIS, digest

_ADD = insert(audit)
_HEAD = select(audit.c.sequence, audit.c.hash, audit.c.at).order_by(audit.c.sequence.desc()).limit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which records are read: those for which everything that is not None holds."""

    actor: str | None = None
    operation: str | None = None
    result: Result | None = None
    since: float | None = None
    until: float | None = None


class AuditRepository:
    """The audit trail. Records are appended and read, and the oldest ones may be removed."""

    def __init__(self, connection: AsyncConnection, clock: ColumnElement[float]) -> None:
        self._connection = connection
        self._clock = clock

    async def append(self, calls: Sequence[tuple[Call, float]]) -> Head:
        """Append calls, each with its age in seconds, and return the new head."""
        now = await hold_at(self._connection, Lock.AUDIT, self._clock)
        head = await self.head()
        rows = []
        for call, age in calls:
            record = AuditRecord(
                **asdict(call) | {"parameters": call.parameters},
                sequence=head.sequence + 1,
                at=round(now - max(0.0, age), 6),  # as precise as the time that is shown
                previous=head.hash,
            )
            record = replace(record, hash=digest(hashed_fields(record)))
            head = Head(record.sequence, record.hash, record.at)
            rows.append(asdict(record) | {"parameters": dict(record.parameters)})
        if rows:
            await self._connection.execute(_ADD, rows)
        return head

    async def head(self) -> Head:
        """Return the newest record's number, hash and time; before the first record, number 0."""
        row = (await self._connection.execute(_HEAD)).one_or_none()
        return Head(0, GENESIS) if row is None else Head(row.sequence, row.hash, row.at)

    async def after(self, sequence: int, *, only: AuditFilter, limit: int) -> Part[AuditRecord]:
        """Read at most `limit` records with a higher number, in the order of their numbers."""
        columns = audit.c
        query: Select[Any] = select(audit).where(columns.sequence > sequence).order_by(columns.sequence)
        if only.actor is not None:
            query = query.where(columns.actor == only.actor)
        if only.operation is not None:
            query = query.where(columns.operation == only.operation)
        if only.result is not None:
            query = query.where(columns.status.between(*STATUSES[only.result]))
        if only.since is not None:
            query = query.where(columns.at >= only.since)
        if only.until is not None:
            query = query.where(columns.at < only.until)
        walk = Walk()
        return await read(
            self._connection,
            query,
            _recorded,
            lambda row: columns.sequence > row.sequence,
            limit=limit,
            ends=lambda _: walk.weight >= LISTED,
            walk=walk,
            many=SHORT,
        )

    async def remove_oldest(self, *, before: float, limit: int) -> int:
        """Remove at most `limit` of the first records, up to the first that is not older than `before`.

        Return how many were removed. The newest record always stays, because the next one names its hash.
        """
        query = select(audit.c.sequence, audit.c.at).order_by(audit.c.sequence).limit(limit + 1)
        oldest = (await self._connection.execute(query)).all()
        old = list(takewhile(lambda row: row.at < before, oldest[:-1]))
        if old:
            await self._connection.execute(delete(audit).where(audit.c.sequence <= old[-1].sequence))
        return len(old)


def _recorded(row: Row[Any]) -> AuditRecord:
    return AuditRecord(**row._asdict() | {"parameters": tuple(sorted(row.parameters.items()))})
