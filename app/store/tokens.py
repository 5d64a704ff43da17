"""The bearer tokens of clients, as they are stored."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import clients

_TOKEN = clients.c.auth_token
_REPLACE = (
    update(clients)
    .where(clients.c.id == bindparam("whose"), bindparam("old") == _TOKEN)
    .values(auth_token=bindparam("new"))
)


class TokenRepository:
    """The stored tokens of clients, in the order of the clients' ids."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def page(self, *, after: str, limit: int, without: str | None = None) -> list[tuple[str, str]]:
        """Read tokens with the ids of their clients, which come after the id `after`.

        Tokens that begin with `without` are left out.
        """
        query = select(clients.c.id, _TOKEN).where(clients.c.id > after, _TOKEN.is_not(None))
        if without is not None:
            query = query.where(~_TOKEN.startswith(without, autoescape=True))
        rows = await self._connection.execute(query.order_by(clients.c.id).limit(limit))
        return [(row[0], row[1]) for row in rows]

    async def replace(self, changed: Sequence[tuple[str, str, str]]) -> None:
        """Write tokens, given as id, stored token and new one. A token that has changed in the meantime stays."""
        if changed:
            rows = [{"whose": client_id, "old": old, "new": new} for client_id, old, new in sorted(changed)]
            await self._connection.execute(_REPLACE, rows)
