"""Number the changes of clients, so that a server reads only those that are new to it.

Each statement that changes what selections know of a client gives its row a number. On SQLite it is one more than the
highest number of all rows. On Postgres it is the id of the writing transaction. A reader remembers a *floor*: the
highest number that it saw on SQLite, and on Postgres the oldest transaction that had not ended when it read. Whatever
becomes visible later has the floor as its number or a higher one, so the reader asks for the rows from there on, and
reads a few of them again.

A database that was restored on another server of Postgres may have numbers of transactions that have not begun there.
These rows have not changed since, so their numbers count as old.

A removed client leaves no row, so the reader also compares the number of clients. If they are not as many as it knows
with the new ones, it reads all clients again.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.domain.clients import Client
from app.store.client_rows import client_of
from app.store.tables import clients
from tcsfeel.selection.distributions import Packer

MOST = 500  # changed clients that are read in one statement; beyond that all are read again


class _Floor(FunctionElement[int]):
    """The floor of a transaction on one snapshot."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Floor, "sqlite")
def _highest_number(_element: _Floor, _compiler: SQLCompiler, **_options: Any) -> str:
    return "(SELECT coalesce(max(change), 0) FROM clients)"


@compiles(_Floor, "postgresql")
def _oldest_transaction(_element: _Floor, _compiler: SQLCompiler, **_options: Any) -> str:
    return "txid_snapshot_xmin(txid_current_snapshot())"


class _Ceiling(FunctionElement[int]):
    """A number above all that a transaction on one snapshot can see, except in a database that was restored."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Ceiling, "sqlite")
def _any_number(_element: _Ceiling, _compiler: SQLCompiler, **_options: Any) -> str:
    return str(2**63 - 1)


@compiles(_Ceiling, "postgresql")
def _next_transaction(_element: _Ceiling, _compiler: SQLCompiler, **_options: Any) -> str:
    return "txid_snapshot_xmax(txid_current_snapshot())"


_COUNT = select(func.count().label("registered"), _Floor().label("floor")).select_from(clients)
_COUNTED = _COUNT.subquery("counted")
_NEW = (clients.c.change >= bindparam("since", type_=BigInteger)) & (clients.c.change < _Ceiling())
_CHANGED = select(_COUNTED, clients).select_from(_COUNTED.outerjoin(clients, _NEW)).limit(MOST + 1)


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
