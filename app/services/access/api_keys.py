"""Make API keys, and end them. The text of a key is known only to the caller that makes it."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from app.clock import Clock
from app.domain import keys
from app.domain.clients import Client
from app.domain.errors import NotFound
from app.domain.events.keys import KeyCreated, KeyRevoked, KeyRotated
from app.domain.keys import ApiKey, KeyState
from app.domain.principals import Role
from app.origins import ACTORS, current_origin
from app.services.access.callers import Callers
from app.services.access.secrets import ServerSecret
from app.store.database import Database
from app.store.reading import Part
from app.store.transaction import Transaction
from tcsfeel.errors import Invalid

MOST_OF_CLIENT = 1000  # valid keys; it has one, unless an admin made others
GRACE_SECONDS = 86_400.0  # that a key which was rotated stays valid, by default


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made, with its text, which can be shown only now."""

    key: ApiKey
    text: str

    def __repr__(self) -> str:
        return f"NewKey({self.key.id!r})"


class ApiKeys:
    """Use cases around API keys."""

    def __init__(self, db: Database, clock: Clock, secret: ServerSecret, callers: Callers) -> None:
        self._db = db
        self._clock = clock
        self._secret = secret
        self._callers = callers

    async def create(
        self, *, name: str, role: Role, client_id: str | None = None, lifetime_seconds: float | None = None
    ) -> NewKey:
        """Make a key. An agent's key needs the id of its client.

        Raises:
            Invalid: events use the name for another actor.
        """
        if name in ACTORS:
            raise Invalid("/name", f"should not be {name!r}, which is another caller in the log of events")
        async with self._db.begin() as tx:
            return await self.issue(tx, name=name, role=role, client_id=client_id, lifetime_seconds=lifetime_seconds)

    async def issue(
        self,
        tx: Transaction,
        *,
        name: str,
        role: Role,
        client_id: str | None = None,
        lifetime_seconds: float | None = None,
    ) -> NewKey:
        """Make a key in a transaction, such as that of an enrolment. An agent that was shut out gets tasks again."""
        client = await _held(tx, client_id)
        if client is not None and client.identity.shut_out:
            await tx.clients.put(client.let_in())
        new = self._new(name, role, client_id, lifetime_seconds)
        await tx.api_keys.add(new.key)
        await tx.events.append(KeyCreated.of(new.key))
        return new

    def _new(
        self,
        name: str,
        role: Role,
        client_id: str | None,
        lifetime_seconds: float | None,
        replaces: str | None = None,
    ) -> NewKey:
        now, key_id = self._clock.now(), keys.new_id()
        text = keys.new_text(role, key_id)
        key = ApiKey(
            id=key_id,
            name=name,
            role=role,
            client_id=client_id,
            hash=self._secret.keyed_hash(text),
            created_at=now,
            created_by=current_origin().actor,
            expires_at=None if lifetime_seconds is None else now + lifetime_seconds,
            replaces=replaces,
            secret_id=self._secret.ids[0],
        )
        return NewKey(key, text)

    async def get(self, key_id: str) -> ApiKey:
        """Read a key. Raises `NotFound`."""
        async with self._db.glance() as tx:
            return await tx.api_keys.get(key_id)

    async def page(
        self,
        *,
        limit: int,
        after: tuple[float, str] | None = None,
        role: Role | None = None,
        state: KeyState | None = None,
        client_id: str | None = None,
    ) -> Part[ApiKey]:
        """Read a page of keys, newest first."""
        now = self._clock.now()
        async with self._db.read() as tx:
            return await tx.api_keys.page(
                limit=limit, after=after, role=role, state=state, client_id=client_id, now=now
            )

    def state(self, key: ApiKey) -> KeyState:
        """Tell whether a key is valid now."""
        return key.state(self._clock.now())

    async def of_other_secrets(self) -> int:
        """Count the valid keys that no secret of this server has made, so that calls with them are refused."""
        async with self._db.glance() as tx:
            return await tx.api_keys.of_other_secrets(self._secret.ids, now=self._clock.now())

    async def rotate(
        self, key_id: str, *, grace_seconds: float = GRACE_SECONDS, lifetime_seconds: float | None = None
    ) -> NewKey:
        """Make a new key in place of a valid one, which stays valid for a time.

        Unless `lifetime_seconds` is given, the new key lives as long as the old one was meant to live.

        Raises:
            NotFound: there is no such key.
            StateForbids: the key has expired or was revoked.
        """
        now = self._clock.now()
        async with self._db.begin() as tx:
            key = await tx.api_keys.hold(key_id)
            ending = key.rotated(now=now, grace_seconds=grace_seconds)
            if lifetime_seconds is None and key.expires_at is not None:
                lifetime_seconds = key.expires_at - key.created_at
            new = self._new(key.name, key.role, key.client_id, lifetime_seconds, replaces=key.id)
            await tx.api_keys.end(ending)
            await tx.api_keys.add(new.key)
            await tx.events.append(KeyRotated.of(key, new.key.id))
        self._callers.forget(key_id)
        return new

    async def revoke(self, key_id: str) -> None:
        """Make a key invalid: on this server at once, on others within `Callers.TRUSTED_SECONDS`. Raises `NotFound`.

        An agent whose last valid key it was gets no tasks any more.
        """
        async with self._db.begin() as tx:
            client = await _held(tx, (await tx.api_keys.get(key_id)).client_id)  # enrolments hold it before keys, too
            key = await tx.api_keys.hold(key_id)
            client = client or await _held(tx, key.client_id)  # it may have been registered meanwhile
            if key.revoked_at is None:
                await tx.api_keys.end(replace(key, revoked_at=self._clock.now()))
                await tx.events.append(KeyRevoked.of(key))
                if client is not None and not (await self._valid_of(tx, client.id, 1)).items:
                    await tx.clients.put(client.kept_out())
        self._callers.forget(key_id)

    async def keep_out(self, tx: Transaction, clients: Sequence[Client]) -> list[Client]:
        """Keep out those of some new clients whose agents have no valid key, because it was revoked before.

        The transaction has added them. Returns all of them as they are now.
        """
        ids = [client.id for client in clients]
        if not await tx.api_keys.of_agents(ids):
            return list(clients)
        await tx.api_keys.take_turn()  # otherwise a key could be revoked before the clients can be seen
        now = self._clock.now()
        states: dict[str | None, set[KeyState]] = {}
        for key in await tx.api_keys.of_agents(ids):
            states.setdefault(key.client_id, set()).add(key.state(now))
        ended = {name for name, found in states.items() if "valid" not in found and "revoked" in found}
        after = [client.kept_out() if client.id in ended else client for client in clients]
        await tx.clients.put(*(client for client in after if client.id in ended))
        return after

    async def goes_on(self, tx: Transaction, key_id: str) -> bool:
        """Tell whether a key is valid, or one that has replaced it by rotation."""
        now = self._clock.now()
        key: ApiKey | None = await tx.api_keys.get(key_id)
        while key is not None and key.state(now) != "valid":
            key = await tx.api_keys.successor(key.id)
        return key is not None

    async def revoke_of(self, tx: Transaction, client_id: str) -> list[str]:
        """Make all keys of a client's agent invalid. Pass the ids to `forget` when the transaction is committed."""
        await tx.api_keys.take_turn()
        ended = (await self._valid_of(tx, client_id, MOST_OF_CLIENT)).items
        for key in ended:
            await tx.api_keys.end(replace(key, revoked_at=self._clock.now()))
            await tx.events.append(KeyRevoked.of(key))
        return [key.id for key in ended]

    async def _valid_of(self, tx: Transaction, client_id: str, limit: int) -> Part[ApiKey]:
        now = self._clock.now()
        return await tx.api_keys.page(limit=limit, role="agent", state="valid", client_id=client_id, now=now)

    def forget(self, key_ids: Iterable[str]) -> None:
        """Notice on this server that keys have been revoked in a transaction that is committed."""
        for key_id in key_ids:
            self._callers.forget(key_id)


async def _held(tx: Transaction, client_id: str | None) -> Client | None:
    """Read the client of an agent's key, and hold its row until the transaction ends."""
    if client_id is not None:
        with suppress(NotFound):
            return await tx.clients.get(client_id, for_update=True, labels=False)
    return None
