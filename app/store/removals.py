"""Remove files of the model store, although another process may be storing the same bytes at the same time.

Files are named by their content. A file that nothing names any more can be written and named again at any moment, by
any process, and no transaction covers both the database and the files. Therefore there are these rules:

- A transaction that gives a name up first requests the removal of its file (`request`).
- A remover begins in a separate transaction (`begin`). If a version or a state that is kept names the file, the request
  is dropped. Otherwise `until` is stored: up to that time, the file may be removed at any moment. The remover removes
  the file, unless most of that time is over, and records it in another transaction (`end`), which sets `until` to that
  moment.
- A writer reads the database's time before it writes. It writes the file even if it exists already, and names it in a
  transaction that also calls `check`. If `until` is not before that time, the file that it wrote may have been
  removed: it gets `FileRemoved`, and writes the file again.

`request`, `begin` and `check` hold a lock on the name until their transaction ends. So if the writer commits first, the
remover finds that the file is named; if the remover commits first, the writer finds `until`. If a remover is killed,
its request stays, and another one takes it up once `until` has passed. As for leases, two things are assumed: the
database's clock does not run back during a removal or a write, and a remover does not stall for most of `WINDOW`
between its last look at the clock and the removal.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Integer, cast, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.instants import TOLERANCE_SECONDS
from app.store.model_store import StoreUnavailable
from app.store.tables import model_versions, removals, tasks, upload_parts

WINDOW = 240.0  # seconds from `begin` to `until`; a bucket's answer may take 45

_LOCK = 726_190_441  # any number that nothing else uses as a lock


class FileRemoved(StoreUnavailable):
    """The file may have been removed after it was written and before it was named: write it again in a moment."""


class RemovalRepository:
    """The requests for removals, one for each name. `clock` is the database's time in unix seconds."""

    def __init__(self, connection: AsyncConnection, clock: ColumnElement[float]) -> None:
        self._connection = connection
        self._clock = clock

    async def hold(self, names: Collection[str]) -> None:
        """Lock names, in order, until the transaction ends.

        If several calls follow, lock all of their names at once.
        """
        if self._connection.dialect.name != "postgresql":  # SQLite has one writer at a time anyway
            return
        for key in sorted({int(name[:8], 16) - 2**31 for name in names}):
            await self._connection.execute(select(func.pg_advisory_xact_lock(cast(_LOCK, Integer), cast(key, Integer))))

    async def check(self, names: Collection[str], since: float) -> None:
        """Raise `FileRemoved` if a file that was written after `since` (the database's time) may have been removed."""
        await self.hold(names)
        ended_ahead = func.coalesce(removals.c.removed_at, 0.0) > self._clock + TOLERANCE_SECONDS
        before_the_clock_was_set_back = ended_ahead & (self._clock >= since)  # which was, too, before `since`
        query = select(removals.c.sha256).where(
            removals.c.sha256.in_(names), removals.c.until >= since, ~before_the_clock_was_set_back
        )
        if (name := (await self._connection.execute(query.limit(1))).scalar()) is not None:
            raise FileRemoved(f"the file {name} was being removed while it was written")

    async def request(self, names: Collection[str], *, at_once: bool = False) -> None:
        """Request that files are removed once nothing names them; `at_once`, if no caller can be downloading them."""
        await self.hold(names)
        requested_at = 0.0 if at_once else self._clock
        for name in sorted(set(names)):
            again = update(removals).where(removals.c.sha256 == name).values(requested_at=requested_at, removed_at=None)
            if (await self._connection.execute(again)).rowcount == 0:
                row = {"sha256": name, "requested_at": requested_at, "until": 0.0}
                await self._connection.execute(insert(removals).values(row))

    async def due(self, delay: float, limit: int) -> list[str]:
        """Return at most `limit` files whose removal was requested `delay` seconds ago and that no remover works on."""
        query = select(removals.c.sha256).where(removals.c.requested_at <= self._clock - delay, self._free)
        rows = await self._connection.execute(query.order_by(removals.c.requested_at).limit(limit))
        return list(rows.scalars())

    async def begin(self, name: str) -> float | None:
        """Begin to remove a file.

        Returns until when (unix seconds); None if it must stay or another remover is at work.
        """
        await self.hold([name])
        open_request = (removals.c.sha256 == name) & self._free
        if await self._is_named(name):
            await self._connection.execute(delete(removals).where(open_request))
            return None
        begun = update(removals).where(open_request).values(until=self._clock + WINDOW).returning(removals.c.until)
        until: float | None = (await self._connection.execute(begun)).scalar()
        return until

    async def end(self, name: str, until: float) -> bool:
        """Record that the file was removed. Returns False if `until` has passed and another remover is at work."""
        ours = (removals.c.sha256 == name) & (removals.c.until == until) & removals.c.removed_at.is_(None)
        ended = update(removals).where(ours).values(until=self._clock, removed_at=self._clock)
        return (await self._connection.execute(ended)).rowcount == 1

    async def removed(self, names: Collection[str]) -> list[str]:
        """Return those of `names` whose files were removed and not stored again."""
        query = select(removals.c.sha256).where(removals.c.sha256.in_(names), removals.c.removed_at.is_not(None))
        found = (await self._connection.execute(query)).scalars().all()
        return [name for name in found if not await self._is_named(name)]

    @property
    def _free(self) -> ColumnElement[bool]:
        return removals.c.removed_at.is_(None) & (removals.c.until < self._clock)

    async def _is_named(self, name: str) -> bool:
        versions = exists().where(model_versions.c.sha256 == name, model_versions.c.removed_at.is_(None))
        states = exists().where(model_versions.c.optimiser_state == name)
        mail = exists().where((tasks.c.model == name) | (tasks.c.result == name))
        parts = exists().where(upload_parts.c.sha256 == name)
        return bool((await self._connection.execute(select(versions | states | mail | parts))).scalar())
