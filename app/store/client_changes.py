"""Number the changes of clients, so that a server reads only those that are new to it.

Each statement that changes what selections know of a client gives its row a number. On SQLite it is one more than the
highest number of all rows. On Postgres it is the id of the writing transaction. A reader remembers a *floor*: the
highest number that it saw on SQLite, and on Postgres the oldest transaction that had not ended when it read. Whatever
becomes visible later has the floor as its number or a higher one, so the reader asks for the rows from there on, and
reads a few of them again.

A database that was restored on another server of Postgres may have numbers of transactions that have not begun there.
These rows have not changed since, so their numbers count as old.

A removed client leaves no row, so the reader also compares the number of clients. If they are not as many as it knows
with the new ones, it reads all clients again. On SQLite a removal gives another client a new number, because clients
that are registered later would otherwise get numbers below the floor. If there is no other client, the numbers begin
again. The floor falls then, and the reader reads all clients again.
"""

from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.clients import Client
from app.store.client_rows import COLUMNS, client_of
from app.store.tables import clients
from app.store.tables.numbers import number
from tcsfeel.selection.distributions import Packer

MOST = 500  # changed clients that are read in one statement; beyond that all are read again


# In a transaction on one snapshot: the floor, and a number above all that it can see, except in a restored database.
_FLOOR = number(
    sqlite="(SELECT coalesce(max(change), 0) FROM clients)", postgresql="txid_snapshot_xmin(txid_current_snapshot())"
)
_CEILING = number(sqlite=str(2**63 - 1), postgresql="txid_snapshot_xmax(txid_current_snapshot())")

_COUNT = select(func.count().label("registered"), _FLOOR.label("floor")).select_from(clients)
_COUNTED = _COUNT.subquery("counted")
_NEW = (clients.c.change >= bindparam("since", type_=BigInteger)) & (clients.c.change < _CEILING)
_CHANGED = select(_COUNTED, *COLUMNS).select_from(_COUNTED.outerjoin(clients, _NEW)).limit(MOST + 1)


@dataclass(frozen=True, slots=True)
class ClientNews:
    """What a reader has to know besides what it knows.

    Attributes:
        changed: the clients that were changed, or are new; None if they are too many.
        registered: how many clients there are.
        floor: from where to read the next time.
    """

    changed: tuple[Client, ...] | None
    registered: int
    floor: int


class ClientChangeRepository:
    """The changes of clients. It reads in a transaction on one snapshot."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def floor(self) -> int:
        """Return from where to read, after all clients were read in this transaction."""
        return int((await self._connection.execute(_COUNT)).one().floor)

    async def since(self, floor: int) -> ClientNews:
        """Read which clients were changed since a floor."""
        rows = (await self._connection.execute(_CHANGED, {"since": floor})).all()
        packer = Packer()
        changed = tuple(client_of(row, packer) for row in rows if row.id is not None)
        first = rows[0]
        return ClientNews(changed if len(rows) <= MOST else None, first.registered, first.floor)
