"""Share the request rates of callers between servers: each server replaces its own rows and reads those of others."""

from collections.abc import Collection, Mapping

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from app.store.tables import request_rates

FRESH_SECONDS = 5.0  # a server that has written nothing for so long does not count
_FORGOTTEN_SECONDS = 60.0


class RequestRateRepository:
    """The calls a second of each caller at each server. `clock` is the database's time in unix seconds."""

    def __init__(self, connection: AsyncConnection, clock: ColumnElement[float]) -> None:
        self._connection = connection
        self._clock = clock

    async def publish(self, server: str, rates: Mapping[str, float]) -> None:
        """Replace the rates of one server, and forget servers that have written nothing for a minute."""
        columns = request_rates.c
        stale = columns.measured_at < self._clock - _FORGOTTEN_SECONDS
        await self._connection.execute(delete(request_rates).where((columns.server == server) | stale))
        if rates:
            now = (await self._connection.execute(select(self._clock))).scalar_one()
            rows = [
                {"caller": caller, "server": server, "rate": rate, "measured_at": now} for caller, rate in rates.items()
            ]
            await self._connection.execute(insert(request_rates), rows)

    async def elsewhere(self, server: str, callers: Collection[str]) -> dict[str, float]:
        """Read the rates of some callers at all other servers together. Callers without any are not in the result."""
        columns = request_rates.c
        query = (
            select(columns.caller, func.sum(columns.rate))
            .where(
                columns.caller.in_(callers),
                columns.server != server,
                columns.measured_at > self._clock - FRESH_SECONDS,
            )
            .group_by(columns.caller)
        )
        return {row[0]: row[1] for row in await self._connection.execute(query)}
