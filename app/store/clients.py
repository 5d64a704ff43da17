"""Clients as rows."""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row, Select, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from app.domain.breaker import Breaker, Failure
from app.domain.clients import Client, ClientStatus, Measured, Profile
from app.domain.errors import AlreadyExists, NotFound
from app.domain.identity import Identity
from app.domain.selection.distributions import Packer, plain
from app.store.inserts import insert_missing
from app.store.tables import clients

PAGE = 500  # rows that are read at once: some 10 ms, for most fleets
WRITTEN = 100  # rows that are written at once, which takes as long
FIRST_PAGE = 20
PAGE_SECONDS = 0.01  # of the event loop's time, that one page of a fleet should take
FREE_LABELS = 20  # that take as long to write as the rest of a row
CHUNK = 500  # rows a reading statement: as many as a page
MOST_PARAMETERS = 30_000  # of a statement: Postgres takes 32 767 of them, SQLite as many or more

_BREAKER_NOT_CLOSED = clients.c.breaker["state"].as_string() != "closed"
_IDENTITY = TypeAdapter(Identity)
_PROFILE = tuple(Profile.__slots__)
_PLAIN = tuple(name for name in Client.__slots__ if name not in {"profile", "measured", "breaker", "identity"})


class ClientRepository:
    """Registered clients, ordered by id."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, added: Sequence[Client]) -> None:
        """Raises `AlreadyExists` with every id that is taken; the transaction is to be rolled back then."""
        taken = {client.id for client in added} - await self.add_missing(added)
        if taken:
            raise AlreadyExists("client", sorted(taken))

    async def add_missing(self, added: Sequence[Client]) -> set[str]:
        """Add those whose id is free, and give their ids."""
        # In one order everywhere: two transactions that wait for each other's rows would be a deadlock.
        ordered = sorted(added, key=lambda client: client.id)
        statement = insert_missing(self._connection, clients).returning(clients.c.id)
        found: set[str] = set()
        for some in _by_weight(map(_row, ordered)):
            found |= set((await self._connection.execute(statement, some)).scalars())
            await asyncio.sleep(0)
        return found

    async def get(self, client_id: str, *, for_update: bool = False) -> Client:
        """Raises `NotFound`. `for_update` holds the row until the transaction ends."""
        query = select(clients).where(clients.c.id == client_id)
        row = (await self._connection.execute(query.with_for_update() if for_update else query)).one_or_none()
        if row is None:
            raise NotFound("client", client_id)
        return _client(row)

    async def put(self, *changed: Client) -> None:
        """Write every column of clients that exist."""
        statement = update(clients).where(clients.c.id == bindparam("whose"))
        for some in _by_weight(map(_row, changed)):
            await self._connection.execute(statement, [{"whose": row.pop("id"), **row} for row in some])
            await asyncio.sleep(0)

    async def remove(self, client_id: str) -> None:
        """Raises `NotFound`."""
        if (await self._connection.execute(delete(clients).where(clients.c.id == client_id))).rowcount != 1:
            raise NotFound("client", client_id)

    async def page(
        self, *, limit: int, after: str | None, status: ClientStatus | None, tags: Collection[tuple[str, str]]
    ) -> list[Client]:
        """At most `limit` clients with ids beyond `after`, of this status and with all of these tags."""
        query = select(clients).order_by(clients.c.id)
        if status is not None:
            query = query.where(clients.c.status == status)
        for key, value in tags:
            query = query.where(self._tagged(key, value))
        return await self._walk(query, limit, after, _client)

    async def all(self) -> list[Client]:
        """Every client. What they say of their labels takes little memory, and no time to give it back."""
        packer = Packer()

        def made(row: Row[Any]) -> Client:
            return _client(row, packer)

        return await self._walk(select(clients).order_by(clients.c.id), math.inf, None, made)

    async def _walk(
        self, query: Select[Any], limit: float, after: str | None, made: Callable[[Row[Any]], Client]
    ) -> list[Client]:
        """At most `limit` clients in the order of their ids.

        Rows become values on the event loop, which has other work to do between two pages. Rows of clients with a
        thousand labels take a hundred times as long as others, so pages get as long as they are quick.
        """
        found: list[Client] = []
        size = min(FIRST_PAGE, PAGE)
        while len(found) < limit:
            began = time.thread_time()
            wanted = int(min(size, limit - len(found)))
            rest = query.limit(wanted) if after is None else query.where(clients.c.id > after).limit(wanted)
            page = [made(row) for row in await self._connection.execute(rest)]
            found += page
            if len(page) < wanted:
                break
            after, size = page[-1].id, next_page(wanted, time.thread_time() - began)
            await asyncio.sleep(0)
        return found

    async def lock(self, ids: Collection[str]) -> list[Client]:
        """Those of `ids` that are registered, held until the transaction ends; by id, so that no two can deadlock."""
        return await self._those(ids, select(clients).with_for_update())

    async def hold(self, ids: Collection[str]) -> int:
        """Lock those of `ids` that are registered as `lock` does, and count them, without the time to read them."""
        count = 0
        for chunk in _chunks(ids, MOST_PARAMETERS):
            query = select(clients.c.id).where(clients.c.id.in_(chunk)).order_by(clients.c.id).with_for_update()
            count += len((await self._connection.execute(query)).all())
        return count

    async def lock_unsound(self, ids: Collection[str]) -> list[Client]:
        """Lock those of `ids` whose breaker is open or half-open."""
        return await self._those(ids, select(clients).where(_BREAKER_NOT_CLOSED).with_for_update())

    async def some(self, ids: Collection[str]) -> list[Client]:
        """Those of `ids` that are registered."""
        return await self._those(ids, select(clients))

    async def ids(self) -> list[str]:
        """Of every client, in their order."""
        return list((await self._connection.execute(select(clients.c.id).order_by(clients.c.id))).scalars())

    async def count_by_status(self) -> dict[ClientStatus, int]:
        """A status that no client has is left out."""
        query = select(clients.c.status, func.count()).group_by(clients.c.status)
        return {row[0]: row[1] for row in await self._connection.execute(query)}

    async def count_open_breakers(self) -> int:
        """Breakers that are open or half-open."""
        query = select(func.count()).where(_BREAKER_NOT_CLOSED)
        return int((await self._connection.execute(query)).scalar_one())

    async def count_selected(self, client_ids: Sequence[str]) -> None:
        """One round more in which these were selected."""
        counted = update(clients).values(rounds_selected=clients.c.rounds_selected + 1)
        for chunk in _chunks(client_ids, MOST_PARAMETERS):
            await self._connection.execute(counted.where(clients.c.id.in_(chunk)))

    async def _those(self, ids: Collection[str], query: Select[Any]) -> list[Client]:
        found: list[Client] = []
        for chunk in _chunks(ids, CHUNK):
            rows = await self._connection.execute(query.where(clients.c.id.in_(chunk)).order_by(clients.c.id))
            found += map(_client, rows)
            await asyncio.sleep(0)
        return found

    def _tagged(self, key: str, value: str) -> ColumnElement[bool]:
        """Whether a row has this tag. SQLite's paths into JSON cannot name every key, so the keys are compared."""
        entries = func.jsonb_each_text if self._connection.dialect.name == "postgresql" else func.json_each
        tag = entries(clients.c.tags).table_valued("key", "value")
        return select(tag.c.key).where(tag.c.key == key, tag.c.value == value).exists()


def next_page(size: int, seconds: float) -> int:
    """How many rows to read after `size` of them took `seconds` of the event loop's time."""
    return max(1, min(PAGE, 2 * size, int(size * PAGE_SECONDS / max(seconds, 1e-6))))


def _by_weight(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The rows in their order, as many at a time as can be written without holding the event loop."""
    some: list[dict[str, Any]] = []
    weight = 0.0
    for row in rows:
        some.append(row)
        weight += 1 + len(row["data_distribution"] or ()) / FREE_LABELS
        if weight >= WRITTEN:
            yield some
            some, weight = [], 0.0
    if some:
        yield some


def _chunks(ids: Collection[str], size: int) -> Iterator[list[str]]:
    """The ids in their order, at most `size` at a time."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _row(client: Client) -> dict[str, Any]:
    return {
        **{name: getattr(client, name) for name in _PLAIN},
        **{name: getattr(client.profile, name) for name in _PROFILE},
        "data_distribution": plain(client.profile.data_distribution),
        "tags": dict(client.profile.tags),
        "measured": asdict(client.measured),
        "breaker": asdict(client.breaker),
        "identity": None if client.identity == Identity() else asdict(client.identity),
    }


def _client(row: Row[Any], packer: Packer | None = None) -> Client:
    breaker = dict(row.breaker)
    breaker["outcomes"] = tuple(breaker["outcomes"])
    breaker["last_failures"] = tuple(Failure(**failure) for failure in breaker.get("last_failures", ()))
    profile = {name: getattr(row, name) for name in _PROFILE}
    if packer is not None and (labels := profile["data_distribution"]) is not None:
        profile["data_distribution"] = packer.packed(labels)
    return Client(
        profile=Profile(**profile),
        measured=Measured(**row.measured),
        breaker=Breaker(**breaker),
        identity=Identity() if row.identity is None else _IDENTITY.validate_python(row.identity),
        **{name: getattr(row, name) for name in _PLAIN},
    )
