"""Invitations as rows."""

from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, delete, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.invitations import Invitation
from app.store.reading import SHORT, Part, read
from app.store.tables import invitations

_FIELDS = tuple(Invitation.__slots__)

_OF_ID = invitations.c.id == bindparam("of_id")
_GET = select(invitations).where(_OF_ID)
_LOCK = _GET.with_for_update()
_CHANGE = update(invitations).where(_OF_ID)


class InvitationRepository:
    """Invitations, newest first."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, invitation: Invitation) -> None:
        row = {name: getattr(invitation, name) for name in _FIELDS} | {"tags": dict(invitation.tags)}
        await self._connection.execute(insert(invitations).values(row))

    async def get(self, invitation_id: str, *, for_update: bool = False) -> Invitation:
        """Read an invitation. `for_update` locks the row until the transaction ends. Raises `NotFound`."""
        row = (await self._connection.execute(_LOCK if for_update else _GET, {"of_id": invitation_id})).one_or_none()
        if row is None:
            raise NotFound("invitation", invitation_id)
        return _invitation(row)

    async def put(self, invitation: Invitation) -> None:
        """Write the parts of an invitation that change: how often it was used, and when it was revoked."""
        row = {"used": invitation.used, "revoked_at": invitation.revoked_at}
        await self._connection.execute(_CHANGE, {"of_id": invitation.id, **row})

    async def remove_ended(self, *, before: float, limit: int) -> int:
        """Remove at most `limit` of those that expired or were revoked before a given time. Return how many it were."""
        ended = or_(invitations.c.expires_at < before, invitations.c.revoked_at < before)
        query = select(invitations.c.id).where(ended).order_by(invitations.c.created_at).limit(limit)
        ids = (await self._connection.execute(query)).scalars().all()
        if ids:
            await self._connection.execute(delete(invitations).where(invitations.c.id.in_(ids)))
        return len(ids)

    async def page(self, *, limit: int, after: tuple[float, str] | None) -> Part[Invitation]:
        """Read at most `limit` invitations older than `after`: the `created_at` and the id of the last one read."""
        query = select(invitations).order_by(invitations.c.created_at.desc(), invitations.c.id.desc())
        if after is not None:
            query = query.where(_older(*after))
        return await read(
            self._connection,
            query,
            _invitation,
            lambda row: _older(row.created_at, row.id),
            limit=limit,
            many=SHORT,
        )


def _older(created_at: float, invitation_id: str) -> ColumnElement[bool]:
    return tuple_(invitations.c.created_at, invitations.c.id) < tuple_(created_at, invitation_id)


def _invitation(row: Row[Any]) -> Invitation:
    return Invitation(**{name: getattr(row, name) for name in _FIELDS})
