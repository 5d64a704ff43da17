"""Store API keys as rows, without their texts.

Each change that can make a key invalid gives its row a number that is higher than all others. The changes of keys wait
for each other, so their numbers become visible in order, and a server that asks for the changes after the last number
that it knows misses none.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.keys import ApiKey, KeyState
from app.domain.principals import Role
from app.store.locks import Lock, hold
from app.store.reading import MOST_PARAMETERS, SHORT, Part, Walk, read
from app.store.tables import api_keys

_FIELDS = tuple(ApiKey.__slots__)

_OF_ID = api_keys.c.id == bindparam("of_id")
_GET = select(api_keys).where(_OF_ID)
_SUCCESSOR = select(api_keys).where(api_keys.c.replaces == bindparam("of_id")).order_by(api_keys.c.created_at.desc())
_OF_AGENTS = select(api_keys).where(
    api_keys.c.role == "agent", api_keys.c.client_id.in_(bindparam("ids", expanding=True))
)
_LAST_CHANGE = select(func.coalesce(func.max(api_keys.c.change), 0))
_CHANGED = select(api_keys.c.id, api_keys.c.change).where(api_keys.c.change > bindparam("seen"))
_LATER = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < bindparam("at"))
_USED = update(api_keys).where(_OF_ID, _LATER).values(last_used_at=bindparam("at"))
_HASH = update(api_keys).where(_OF_ID).values(hash=bindparam("new_hash"), secret_id=bindparam("made_by"))


class ApiKeyRepository:
    """API keys, newest first."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def successor(self, key_id: str) -> ApiKey | None:
        """Return the newest key that was made by the rotation of a key."""
        row = (await self._connection.execute(_SUCCESSOR, {"of_id": key_id})).first()
        return None if row is None else _key(row)

    async def add(self, key: ApiKey) -> None:
        row = {name: getattr(key, name) for name in _FIELDS}
        await self._connection.execute(insert(api_keys).values(row))

    async def find(self, key_id: str) -> ApiKey | None:
        """Read a key, or return None if there is none with this id."""
        row = (await self._connection.execute(_GET, {"of_id": key_id})).one_or_none()
        return None if row is None else _key(row)

    async def get(self, key_id: str) -> ApiKey:
        """Read a key. Raises `NotFound`."""
        found = await self.find(key_id)
        if found is None:
            raise NotFound("key", key_id)
        return found

    async def of_agents(self, client_ids: Collection[str]) -> list[ApiKey]:
        """Read the keys of the agents of some clients, valid or not."""
        ordered = sorted(client_ids)
        found: list[ApiKey] = []
        for start in range(0, len(ordered), MOST_PARAMETERS):
            rows = await self._connection.execute(_OF_AGENTS, {"ids": ordered[start : start + MOST_PARAMETERS]})
            found += map(_key, rows)
        return found

    async def take_turn(self) -> None:
        """Wait until this transaction may end keys. What it reads then stays true until it ends."""
        await hold(self._connection, Lock.KEYS)

    async def hold(self, key_id: str) -> ApiKey:
        """Wait until this transaction may end keys, and read a key. Raises `NotFound`."""
        await self.take_turn()
        return await self.get(key_id)

    async def end(self, key: ApiKey) -> None:
        """Write when a key expires and when it was revoked. The transaction has to have its turn."""
        change = (await self._connection.execute(_LAST_CHANGE)).scalar_one() + 1
        row = {"expires_at": key.expires_at, "revoked_at": key.revoked_at, "change": change}
        await self._connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(row))

    async def last_change(self) -> int:
        """Read the number of the newest change that made a key invalid; 0 if there was none."""
        return int((await self._connection.execute(_LAST_CHANGE)).scalar_one())

    async def changed(self, seen: int) -> dict[str, int]:
        """Read which keys have changed after a change, with the number of the last change of each."""
        rows = await self._connection.execute(_CHANGED, {"seen": seen})
        return {row.id: row.change for row in rows}

    async def used(self, instants: Mapping[str, float]) -> None:
        """Write when keys were last used, unless a later time is known."""
        rows = [{"of_id": key_id, "at": at} for key_id, at in sorted(instants.items())]
        await self._connection.execute(_USED, rows)

    async def rehash(self, hashes: Mapping[str, bytes], secret_id: str) -> None:
        """Replace the hashes of keys, because the secret of the hashes has changed to that of this id."""
        rows = [{"of_id": key_id, "new_hash": value, "made_by": secret_id} for key_id, value in sorted(hashes.items())]
        await self._connection.execute(_HASH, rows)

    async def of_other_secrets(self, secret_ids: Collection[str], *, now: float) -> int:
        """Count the keys that are valid at `now` and whose hashes were made with none of these secrets."""
        query = select(func.count()).select_from(api_keys)
        made = api_keys.c.secret_id.not_in(secret_ids)  # not those of which it is unknown
        return int((await self._connection.execute(query.where(_in_state("valid", now), made))).scalar_one())

    async def page(
        self,
        *,
        limit: int,
        after: tuple[float, str] | None = None,
        role: Role | None = None,
        state: KeyState | None = None,
        client_id: str | None = None,
        now: float,
    ) -> Part[ApiKey]:
        """Read at most `limit` keys that are older than `after`: the `created_at` and the id of the last one read.

        With `role`, `state` or `client_id`, only keys that have it are read. The state is that at the time `now`.
        """
        columns = api_keys.c
        query = select(api_keys).order_by(columns.created_at.desc(), columns.id.desc())
        conditions = [] if state is None else [_in_state(state, now)]
        conditions += [] if role is None else [columns.role == role]
        conditions += [] if client_id is None else [columns.client_id == client_id]
        conditions += [] if after is None else [_older(*after)]
        return await read(
            self._connection,
            query.where(*conditions),
            _key,
            lambda row: _older(row.created_at, row.id),
            limit=limit,
            walk=Walk(),
            many=SHORT,
        )


def _in_state(state: KeyState, now: float) -> ColumnElement[bool]:
    """Make the condition that `ApiKey.state` is this one."""
    columns = api_keys.c
    if state == "revoked":
        return columns.revoked_at.is_not(None)
    expired = func.coalesce(columns.expires_at, _NEVER) <= now
    return columns.revoked_at.is_(None) & (expired if state == "expired" else ~expired)


_NEVER = math.nextafter(math.inf, 0)


def _older(created_at: float, key_id: str) -> ColumnElement[bool]:
    return tuple_(api_keys.c.created_at, api_keys.c.id) < tuple_(created_at, key_id)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(**{name: getattr(row, name) for name in _FIELDS})
