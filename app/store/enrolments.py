"""Enrolments as rows: which device a client id belongs to."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.invitations import Enrolment
from app.store.inserts import insert_missing
from app.store.reading import MOST_PARAMETERS, SHORT, Part, read
from app.store.tables import enrolments

_FIELDS = tuple(Enrolment.__slots__)

_OF_CLIENT = select(enrolments).where(enrolments.c.client_id == bindparam("of_id"))
_LOCKED = _OF_CLIENT.with_for_update()
_OF_KEY = select(enrolments).where(enrolments.c.public_key == bindparam("of_key"))
_THOSE = select(enrolments).where(enrolments.c.client_id.in_(bindparam("ids", expanding=True)))
_CHANGE = update(enrolments).where(enrolments.c.client_id == bindparam("whose"))


class EnrolmentRepository:
    """Enrolments by client id."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def of_client(self, client_id: str, *, for_update: bool = False) -> Enrolment | None:
        """Read the enrolment of a client id. `for_update` locks the row until the transaction ends."""
        return await self._one(_LOCKED if for_update else _OF_CLIENT, {"of_id": client_id})

    async def of_key(self, public_key: str) -> Enrolment | None:
        """Read the enrolment of a public key."""
        return await self._one(_OF_KEY, {"of_key": public_key})

    async def those(self, ids: Collection[str]) -> dict[str, Enrolment]:
        """Read the enrolments of some client ids."""
        ordered = sorted(ids)
        found: dict[str, Enrolment] = {}
        for start in range(0, len(ordered), MOST_PARAMETERS):
            rows = await self._connection.execute(_THOSE, {"ids": ordered[start : start + MOST_PARAMETERS]})
            found |= {row.client_id: _enrolment(row) for row in rows}
        return found

    async def add(self, enrolment: Enrolment) -> bool:
        """Add the enrolment. Return whether that was possible: the client id and the public key have to be free."""
        statement = insert_missing(self._connection, enrolments).returning(enrolments.c.client_id)
        return (await self._connection.execute(statement, asdict(enrolment))).scalar() is not None

    async def put(self, enrolment: Enrolment) -> None:
        """Write the enrolment over that of the same client."""
        await self._connection.execute(_CHANGE, {"whose": enrolment.client_id, **asdict(enrolment)})

    async def page(self, invitation_id: str, *, limit: int, after: str | None) -> Part[Enrolment]:
        """Read at most `limit` enrolments with an invitation, in the order of client ids, with ids after `after`."""
        query = select(enrolments).where(enrolments.c.invitation_id == invitation_id).order_by(enrolments.c.client_id)
        if after is not None:
            query = query.where(enrolments.c.client_id > after)
        return await read(self._connection, query, _enrolment, _beyond, limit=limit, many=SHORT)

    async def _one(self, query: Select[Any], given: dict[str, str]) -> Enrolment | None:
        row = (await self._connection.execute(query, given)).one_or_none()
        return None if row is None else _enrolment(row)


def _beyond(row: Row[Any]) -> ColumnElement[bool]:
    following: ColumnElement[bool] = enrolments.c.client_id > row.client_id
    return following


def _enrolment(row: Row[Any]) -> Enrolment:
    return Enrolment(**{name: getattr(row, name) for name in _FIELDS})
