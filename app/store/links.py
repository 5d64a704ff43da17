"""Store what relays have measured of links: one row for each pair of clients.

Rows are locked in the order of `LinkRepository.all`: two transactions that wait for each other's rows would be a
deadlock.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import and_, bindparam, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.links import MeasuredLink, Pair, pair_of
from app.store.inserts import insert_missing
from app.store.tables import links

_THIS = (links.c.source == bindparam("one")) & (links.c.target == bindparam("other"))
_COLUMNS = links.c.source, links.c.target, links.c.measured, links.c.measurements, links.c.measured_at, links.c.claimed
_ORDER = links.c.source, links.c.target
_CLAIM = update(links).where(_THIS).values(claimed=bindparam("cost"))
_MEASURE = (
    update(links)
    .where(_THIS)
    .values(
        measured=bindparam("average"), measurements=links.c.measurements + 1, measured_at=bindparam("at")
    )
)  # fmt: skip
_FORGET = delete(links).where(_THIS, links.c.measured_at <= bindparam("until"))


class LinkRepository:
    """The links that relays have measured."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def all(self) -> list[MeasuredLink]:
        """Read all links, in the order of their clients' ids."""
        rows = await self._connection.execute(select(*_COLUMNS).order_by(*_ORDER))
        return [_link_of(row) for row in rows]

    async def observe(self, relay: str, costs: Mapping[str, float], now: float) -> None:
        """Add measurements of a relay to the averages of its links, by the client at the other end."""
        found = {pair_of(relay, child): cost for child, cost in costs.items()}
        known = {link.pair: link for link in await self._some(found)}
        added = [
            asdict(MeasuredLink(source=one, target=other, measured=cost, measurements=1, measured_at=now))
            for (one, other), cost in found.items()
            if (one, other) not in known
        ]
        changed = [
            {"one": pair[0], "other": pair[1], "average": link.observed(found[pair], now).measured, "at": now}
            for pair, link in known.items()
        ]
        if added:  # if another transaction has added one meanwhile, its measurement stands
            await self._connection.execute(insert_missing(self._connection, links), added)
        if changed:
            await self._connection.execute(_MEASURE, changed)

    async def claim(self, costs: Mapping[Pair, float]) -> None:
        """Keep the costs that links had before the matrix followed their measurements."""
        if costs:
            rows = [{"one": one, "other": other, "cost": cost} for (one, other), cost in costs.items()]
            await self._connection.execute(_CLAIM, rows)

    async def claim_anew(self, pairs: Collection[Pair]) -> None:
        """Take the costs of the matrix for claimed ones again."""
        if pairs:
            rows = [{"one": one, "other": other, "cost": None} for one, other in pairs]
            await self._connection.execute(_CLAIM, rows)

    async def forget(self, pairs: Collection[Pair], until: float) -> None:
        """Remove links that were not measured after `until`, unix seconds."""
        if pairs:
            rows = [{"one": one, "other": other, "until": until} for one, other in pairs]
            await self._connection.execute(_FORGET, rows)

    async def _some(self, pairs: Collection[Pair]) -> list[MeasuredLink]:
        if not pairs:
            return []
        these = or_(*(and_(links.c.source == one, links.c.target == other) for one, other in pairs))
        rows = await self._connection.execute(select(*_COLUMNS).where(these).order_by(*_ORDER).with_for_update())
        return [_link_of(row) for row in rows]


def _link_of(row: Any) -> MeasuredLink:
    return MeasuredLink(
        source=row.source,
        target=row.target,
        measured=row.measured,
        measurements=row.measurements,
        measured_at=row.measured_at,
        claimed=row.claimed,
    )
