"""How a file of the model store goes although somebody may be storing the very same bytes at that instant.

Files are named by their content. One that nothing names any more can be written and named again at any moment, by any
process, and no transaction spans the database and the files. Hence these rules:

- Whoever gives a name up first asks for the removal of its file, in the same transaction (`request`).
- A remover begins in a transaction of its own (`begin`). Where a version or a state that is kept names the file, the
  request is dropped. Else `until` says from then on how long the file may go at any instant. The remover removes it,
  unless most of that time is over, and says so in another transaction (`end`): `until` is that moment then.
- A writer asks the database for the time before it writes, writes the file also where it is there already, and names
  it in a transaction that calls `check` first. Where `until` is not before that time, what it wrote may be what was
  removed: it gets `FileRemoved`, and writes the file again.

`request`, `begin` and `check` hold a lock on the name until their transaction ends. So either the writer commits first,
and the remover finds the file named; or the remover does, and the writer finds `until`. A remover that is killed leaves
its request, which is taken up once `until` has passed. What is assumed, as for leases: the database's clock does not
run back while somebody removes or writes, and a remover does not stand still for most of `WINDOW` between its last look
at the time and the removal.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Integer, cast, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.instants import TOLERANCE_SECONDS
from app.store.model_store import StoreUnavailable
from app.store.tables import model_versions, removals

WINDOW = 240.0  # seconds from `begin` to `until`; a bucket's answer may take 45

_LOCK = 726_190_441  # any number that nobody else uses


class FileRemoved(StoreUnavailable):
    """What was written may have been removed before it was named: write it again, in a moment."""


class RemovalRepository:
    """Requests, one a name. `clock` is the database's, unix seconds."""

    def __init__(self, connection: AsyncConnection, clock: ColumnElement[float]) -> None:
        self._connection = connection
        self._clock = clock

    async def hold(self, names: Collection[str]) -> None:
        """Lock names until the transaction ends; all at once, where several calls are to come: in their order."""
        if self._connection.dialect.name != "postgresql":  # SQLite has one writer at a time anyway
            return
        for key in sorted({int(name[:8], 16) - 2**31 for name in names}):
            await self._connection.execute(select(func.pg_advisory_xact_lock(cast(_LOCK, Integer), cast(key, Integer))))

    async def check(self, names: Collection[str], since: float) -> None:
        """Raises `FileRemoved` if a file that was written after `since` (by the database's clock) may be gone."""
        await self.hold(names)
        ended_ahead = func.coalesce(removals.c.removed_at, 0.0) > self._clock + TOLERANCE_SECONDS
        before_the_clock_was_set_back = ended_ahead & (self._clock >= since)  # which was, too, before `since`
        query = select(removals.c.sha256).where(
            removals.c.sha256.in_(names), removals.c.until >= since, ~before_the_clock_was_set_back
        )
        if (name := (await self._connection.execute(query.limit(1))).scalar()) is not None:
            raise FileRemoved(f"the file {name} was being removed while it was written")

    async def request(self, names: Collection[str]) -> None:
        """Have files removed once nothing names them."""
        await self.hold(names)
        for name in sorted(set(names)):
            again = update(removals).where(removals.c.sha256 == name).values(requested_at=self._clock, removed_at=None)
            if (await self._connection.execute(again)).rowcount == 0:
                row = {"sha256": name, "requested_at": self._clock, "until": 0.0}
                await self._connection.execute(insert(removals).values(row))

    async def due(self, delay: float, limit: int) -> list[str]:
        """At most `limit` files whose removal was asked for `delay` seconds ago, and nobody is at it."""
        query = select(removals.c.sha256).where(removals.c.requested_at <= self._clock - delay, self._free)
        rows = await self._connection.execute(query.order_by(removals.c.requested_at).limit(limit))
        return list(rows.scalars())

    async def begin(self, name: str) -> float | None:
        """Until when the file may go (unix seconds); None where it has to stay, or somebody else is at it."""
        await self.hold([name])
        open_request = (removals.c.sha256 == name) & self._free
        if await self._is_named(name):
            await self._connection.execute(delete(removals).where(open_request))
            return None
        begun = update(removals).where(open_request).values(until=self._clock + WINDOW).returning(removals.c.until)
        until: float | None = (await self._connection.execute(begun)).scalar()
        return until

    async def end(self, name: str, until: float) -> bool:
        """The file is gone. False where the `until` that `begin` gave has passed, and somebody else is at it."""
        ours = (removals.c.sha256 == name) & (removals.c.until == until) & removals.c.removed_at.is_(None)
        ended = update(removals).where(ours).values(until=self._clock, removed_at=self._clock)
        return (await self._connection.execute(ended)).rowcount == 1

    async def removed(self, names: Collection[str]) -> list[str]:
        """Those among `names` whose files were removed and not stored again."""
        query = select(removals.c.sha256).where(removals.c.sha256.in_(names), removals.c.removed_at.is_not(None))
        found = (await self._connection.execute(query)).scalars().all()
        return [name for name in found if not await self._is_named(name)]

    @property
    def _free(self) -> ColumnElement[bool]:
        return removals.c.removed_at.is_(None) & (removals.c.until < self._clock)

    async def _is_named(self, name: str) -> bool:
        versions = exists().where(model_versions.c.sha256 == name, model_versions.c.removed_at.is_(None))
        states = exists().where(model_versions.c.optimiser_state == name)
        return bool((await self._connection.execute(select(versions | states))).scalar())
