"""Clients as rows."""

import asyncio
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, Row, Select, bindparam, case, delete, false, func, literal, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from app.domain.breaker import BreakerState
from app.domain.clients import Client, ClientStatus
from app.domain.errors import AlreadyExists, NotFound
from app.store.client_rows import CHANGING, COLUMNS, changing_row_of, client_of, row_of
from app.store.inserts import insert_missing
from app.store.many import ManyRows
from app.store.reading import MOST_PARAMETERS, Part, Walk, read
from app.store.tables import clients
from app.store.tables.numbers import NEXT_CHANGE
from tcsfeel.selection.distributions import Packer

WRITTEN = 100  # rows that are written at once: some 10 ms
FREE_LABELS = 20  # labels that take as long to write as the rest of a row
CHUNK = 500  # rows of a statement that reads no labels

_BREAKER_STATE = clients.c.breaker["state"].as_string()
_BREAKER_NOT_CLOSED = _BREAKER_STATE != "closed"
_UNREAD = case((clients.c.data_distribution.is_(None), null()), else_=literal([], JSON)).label("data_distribution")
_WITHOUT_LABELS = [_UNREAD if column.name == "data_distribution" else column for column in COLUMNS]

_WHOLE = select(*COLUMNS)
_NARROW = select(*_WITHOUT_LABELS)
_ONE = clients.c.id == bindparam("of_id")
_GET = {True: _WHOLE.where(_ONE), False: _NARROW.where(_ONE)}
_GET_LOCKED = {labels: query.with_for_update() for labels, query in _GET.items()}
_THOSE = clients.c.id.in_(bindparam("ids", expanding=True))
_IDS = select(clients.c.id).order_by(clients.c.id)
_SOME = _NARROW.where(_THOSE).order_by(clients.c.id)
_LOCKED = _SOME.with_for_update()
_HELD = _IDS.where(_THOSE).with_for_update()
_HEALTHY = _HELD.where(clients.c.status == "healthy")
_UNNUMBERED = {"change": clients.c.change}  # selections need not read the client again
_SIGN = (
    update(clients)
    .where(
        clients.c.id == bindparam("whose"),
        clients.c.last_seen_at.is_(None) | (clients.c.last_seen_at < bindparam("at")),
    )
    .values(last_seen_at=bindparam("at"), **_UNNUMBERED)
)
_CHANGE = update(clients).where(clients.c.id == bindparam("whose"))
_PUT = ManyRows(_CHANGE, ["whose", *CHANGING])
_ANOTHER = select(clients.c.id).where(clients.c.id != bindparam("whose")).limit(1).scalar_subquery()
_NUMBER_ANOTHER = update(clients).where(clients.c.id == _ANOTHER).values(change=NEXT_CHANGE)
_PROVED = (clients.c.identity["proof", "url"].as_string() == clients.c.url) & (
    clients.c.identity["proof", "public_key"].as_string() == clients.c.public_key
)
_UNPROVED = clients.c.url.is_not(None) & clients.c.public_key.is_not(None) & ~func.coalesce(_PROVED, false())
_SIGNS = (clients.c.last_seen_at, clients.c.created_at)
_LAST_SIGN = case(*((sign <= bindparam("latest"), sign) for sign in _SIGNS))  # none from the future
_NO_SIGN = _LAST_SIGN.is_(None) | (bindparam("earliest") > _LAST_SIGN)
_TO_PROBE = _NARROW.where((clients.c.status != "healthy") | _UNPROVED | _NO_SIGN).order_by(clients.c.id)
_COUNT = update(clients).where(_THOSE).values(rounds_selected=clients.c.rounds_selected + 1, **_UNNUMBERED)


class ClientRepository:
    """Registered clients, ordered by id."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, added: Sequence[Client]) -> None:
        """Add clients. Raises `AlreadyExists` with every id that is taken; then roll the transaction back."""
        taken = {client.id for client in added} - await self.add_missing(added)
        if taken:
            raise AlreadyExists("client", sorted(taken))

    async def add_missing(self, added: Sequence[Client]) -> set[str]:
        """Add the clients whose id is free, and return their ids."""
        # In one order everywhere: two transactions that wait for each other's rows would be a deadlock.
        ordered = sorted(added, key=lambda client: client.id)
        statement = insert_missing(self._connection, clients).returning(clients.c.id)
        found: set[str] = set()
        for some in _by_weight(map(row_of, ordered)):
            found |= set((await self._connection.execute(statement, some)).scalars())
            await asyncio.sleep(0)
        return found

    async def get(self, client_id: str, *, for_update: bool = False, labels: bool = True) -> Client:
        """Read a client. `for_update` locks the row until the transaction ends. Raises `NotFound`."""
        query = _GET_LOCKED[labels] if for_update else _GET[labels]
        row = (await self._connection.execute(query, {"of_id": client_id})).one_or_none()
        if row is None:
            raise NotFound("client", client_id)
        return client_of(row)

    async def put(self, *changed: Client) -> None:
        """Write the parts of clients that change in rounds: everything except their profiles and their enrolments."""
        for start in range(0, len(changed), WRITTEN):
            if start:
                await asyncio.sleep(0)
            some = [{"whose": client.id, **changing_row_of(client)} for client in changed[start : start + WRITTEN]]
            await _PUT.write(self._connection, some)

    async def seen(self, signs: Mapping[str, float]) -> frozenset[str]:
        """Record signs of life (unix seconds) of those clients that are healthy, and return their ids."""
        found = frozenset((await self._connection.execute(_HEALTHY, {"ids": list(signs)})).scalars())
        if found:
            rows = [{"whose": client_id, "at": signs[client_id]} for client_id in sorted(found)]
            await self._connection.execute(_SIGN, rows)
        return found

    async def put_profile(self, before: Client, after: Client) -> None:
        """Write a client whose profile has changed, without the unchanged parts of the profile."""
        known = row_of(before)
        changed = {name: value for name, value in row_of(after).items() if value != known[name]}
        if changed:
            await self._connection.execute(update(clients).where(clients.c.id == after.id).values(changed))

    async def remove(self, client_id: str) -> None:
        """Remove a client. Raises `NotFound`."""
        if self._connection.dialect.name == "sqlite":  # the highest number of a change must not go with it
            await self._connection.execute(_NUMBER_ANOTHER, {"whose": client_id})
        if (await self._connection.execute(delete(clients).where(clients.c.id == client_id))).rowcount != 1:
            raise NotFound("client", client_id)

    async def page(
        self,
        *,
        limit: int,
        after: str | None,
        status: ClientStatus | None,
        tags: Collection[tuple[str, str]],
        healthy: bool | None = None,
        breaker: BreakerState | None = None,
        most_bytes: float = math.inf,
        labels: bool = True,
    ) -> Part[Client]:
        """Read at most `limit` clients with ids after `after`, with this status and all of these tags.

        `healthy` chooses those that are healthy, or those that are not; `breaker` those whose breaker is in this state.
        The list ends with the client with which it has about `most_bytes` as JSON. `labels` is that of `some`.
        """
        query = _select(labels).order_by(clients.c.id)
        if after is not None:
            query = query.where(clients.c.id > after)
        if status is not None:
            query = query.where(clients.c.status == status)
        if healthy is not None:
            query = query.where((clients.c.status == "healthy") if healthy else (clients.c.status != "healthy"))
        if breaker is not None:
            query = query.where(breaker == _BREAKER_STATE)
        for key, value in tags:
            query = query.where(self._tagged(key, value))
        walk = Walk()
        return await read(
            self._connection,
            query,
            client_of,
            _beyond,
            limit=limit,
            ends=lambda _: walk.weight >= most_bytes,
            walk=walk,
        )

    async def to_probe(self, now: float, interval: float, *, limit: int, after: str | None) -> Part[Client]:
        """Read at most `limit` clients with ids after `after` that need a probe.

        That is the rule of `app.domain.liveness.needs_probe`, but clients that are shut out may be among them. So of a
        large fleet that is well, nothing is read. The labels of the clients are not read, as in `some`.
        """
        query = _TO_PROBE if after is None else _TO_PROBE.where(clients.c.id > after)
        query = query.params(earliest=now - interval, latest=now + interval)
        return await read(self._connection, query, client_of, _beyond, limit=limit)

    async def all(self, *, labels: bool = True) -> list[Client]:
        """Read all clients. Their labels are stored so that they take little memory and no time to free.

        Without `labels` it is not read, as in `some`.
        """
        packer = Packer()

        def made(row: Row[Any]) -> Client:
            return client_of(row, packer)

        return (await read(self._connection, _select(labels).order_by(clients.c.id), made, _beyond)).items

    async def lock(self, ids: Collection[str]) -> list[Client]:
        """Lock and read those of `ids` that are registered, in the order of ids, so that transactions cannot deadlock.

        Their labels are not read, as in `some`.
        """
        return await self._those(ids, _LOCKED)

    async def some(self, ids: Collection[str]) -> list[Client]:
        """Read those of `ids` that are registered.

        Their labels are not read, since a client may report ten thousand: `data_distribution` is empty if there are
        labels, and None if there are none.
        """
        return await self._those(ids, _SOME)

    async def ids(self) -> list[str]:
        """Read the ids of all clients, in order."""
        return list((await self._connection.execute(_IDS)).scalars())

    async def count_by_status(self) -> dict[ClientStatus, int]:
        """Count the clients by status. A status that no client has is left out."""
        query = select(clients.c.status, func.count()).group_by(clients.c.status)
        return {row[0]: row[1] for row in await self._connection.execute(query)}

    async def count_open_breakers(self) -> int:
        """Count the breakers that are open or half-open."""
        query = select(func.count()).where(_BREAKER_NOT_CLOSED)
        return int((await self._connection.execute(query)).scalar_one())

    async def count_selected(self, client_ids: Sequence[str]) -> None:
        """Add one to the number of rounds in which these clients were selected."""
        for chunk in _chunks(client_ids, MOST_PARAMETERS):
            await self._connection.execute(_COUNT, {"ids": chunk})

    async def _those(self, ids: Collection[str], query: Select[Any]) -> list[Client]:
        found: list[Client] = []
        for chunk in _chunks(ids, CHUNK):
            for row in await self._connection.execute(query, {"ids": chunk}):
                found.append(client_of(row))
                if not len(found) % WRITTEN:
                    await asyncio.sleep(0)
        return found

    def _tagged(self, key: str, value: str) -> ColumnElement[bool]:
        """Make the condition that a row has this tag.

        SQLite's JSON paths cannot name every key, so keys are compared.
        """
        entries = func.jsonb_each_text if self._connection.dialect.name == "postgresql" else func.json_each
        tag = entries(clients.c.tags).table_valued("key", "value")
        return select(tag.c.key).where(tag.c.key == key, tag.c.value == value).exists()


def _select(labels: bool) -> Select[Any]:
    """Make a query for clients, with or without their labels."""
    return _WHOLE if labels else _NARROW


def _beyond(row: Row[Any]) -> ColumnElement[bool]:
    following: ColumnElement[bool] = clients.c.id > row.id
    return following


def _by_weight(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows in order, as many at a time as can be written without holding the event loop."""
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
    """Yield the ids in order, at most `size` at a time."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
