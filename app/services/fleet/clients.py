"""Register clients and store what is known about them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import structlog

from app.clock import Clock
from app.domain.breaker import BreakerState
from app.domain.clients import Client, ClientStatus, Profile
from app.domain.errors import InvitationNeeded, NotFound
from app.domain.events.clients import (
    ClientHealthy,
    ClientIdentityConflict,
    ClientRegistered,
    ClientRemoved,
    ClientsRegistered,
    update_of,
)
from app.domain.liveness import alive_again
from app.domain.principals import ADMIN, Principal
from app.metrics import Metrics
from app.services.access.api_keys import ApiKeys
from app.services.access.tokens import AgentTokens
from app.services.fleet.newcomers import Newcomers
from app.services.fleet.signs import SignsOfLife
from app.settings import HealthSettings
from app.store.availability import DatabaseUnavailable
from app.store.database import Database
from app.store.reading import LISTED, Part
from app.store.transaction import Transaction
from app.threads import in_thread

PUT_TRIES = 10  # each fails only where another call removes the client just then

log = structlog.get_logger(__name__)


class Clients:
    """Use cases around registered clients."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        metrics: Metrics,
        settings: HealthSettings,
        tokens: AgentTokens,
        *,
        keys: ApiKeys,
        register_by_key: bool = True,
    ) -> None:
        self._db = db
        self._tokens = tokens
        self._keys = keys
        self._register_by_key = register_by_key
        self.newcomers = Newcomers(clock)
        self.signs = SignsOfLife(db, clock, interval=settings.interval_seconds)
        self._clock = clock
        self._metrics = metrics
        self._interval = settings.interval_seconds

    async def register(
        self,
        profiles: Sequence[tuple[str, Profile]],
        instances: Mapping[str, str | None] = MappingProxyType({}),
        *,
        by: Principal = ADMIN,
    ) -> list[Client]:
        """Register all or none; `instances` are those of the agents, by client.

        Raises:
            AlreadyExists: one of them is registered.
            InvitationNeeded: the caller may not register clients.
        """
        now = self._clock.now()

        def made() -> list[Client]:
            sealed = ((name, self._tokens.seal(profile)) for name, profile in profiles)
            new = (Client(id=name, profile=profile, created_at=now, updated_at=now) for name, profile in sealed)
            return [self._seen(client, instances.get(client.id), client.profile.url) for client in new]

        clients = made() if len(profiles) == 1 else await in_thread("messages", made)
        async with self._db.begin() as tx:
            devices = await tx.enrolments.those([client.id for client in clients])
            if len(devices) < len(clients):
                self._admit_new(by)
            clients = [client.of_device(devices.get(client.id)) for client in clients] if devices else clients
            await tx.clients.add(clients)
            clients = await self._keys.keep_out(tx, clients)
            if len(clients) == 1:
                await tx.events.append(ClientRegistered(client_id=clients[0].id, url=clients[0].profile.url))
            else:
                await tx.events.append(ClientsRegistered(count=len(clients)))
        self.newcomers.notice(clients)
        return clients

    async def put(
        self, client_id: str, profile: Profile, instance: str | None = None, *, by: Principal = ADMIN
    ) -> tuple[Client, bool]:
        """Register, or replace the profile of a client that is there; tells whether it is new.

        An agent that restarts registers again: what was measured of it stays, and it counts as seen.

        Raises:
            InvitationNeeded: it would be new, and the caller may not register clients.
            DatabaseUnavailable: others remove the client again and again meanwhile.
        """
        now = self._clock.now()
        sealed = self._tokens.seal(profile)
        new = Client(id=client_id, profile=sealed, created_at=now, updated_at=now)
        client = self._seen(new, instance, profile.url)
        async with self._db.begin() as tx:
            device = await tx.enrolments.of_client(client_id)
            client = client.of_device(device)
            before = await self._added_or_held(tx, client)
            if before is not None:
                sealed = self._tokens.seal(profile, before.profile.auth_token)
                seen = replace(alive_again(before, now), profile=sealed, updated_at=now)
                client = self._seen(seen.of_device(device), instance, profile.url)
                await tx.clients.put_profile(before, client)
                await self._tell(tx, before, client)
                await tx.events.append(update_of(before, client))
                if before.status != "healthy":
                    await tx.events.append(ClientHealthy(client_id=client.id, was=before.status))
            else:
                if device is None:
                    self._admit_new(by)
                (client,) = await self._keys.keep_out(tx, [client])
                await tx.events.append(ClientRegistered(client_id=client.id, url=profile.url))
        self.newcomers.notice([client])
        return client, before is None

    def _admit_new(self, by: Principal) -> None:
        """Raise `InvitationNeeded` unless a caller may register clients whose devices have not enrolled.

        An agent may always register its own client.
        """
        if by.role != "agent" and not self._register_by_key:
            raise InvitationNeeded

    async def _added_or_held(self, tx: Transaction, client: Client) -> Client | None:
        """Add the client, or give the one that has its id, held until the transaction ends.

        The one that is in the way may be removed before it is held: then the id is free again.
        """
        for _ in range(PUT_TRIES):
            if await tx.clients.add_missing([client]):
                return None
            with suppress(NotFound):
                return await tx.clients.get(client.id, for_update=True)
        raise DatabaseUnavailable(f"client {client.id} was removed and registered again during {PUT_TRIES} tries")

    async def change(self, client_id: str, changes: Mapping[str, Any]) -> Client:
        """Change some fields of a profile; a new address makes it forget its token. Raises `NotFound`."""
        now = self._clock.now()
        async with self._db.begin() as tx:
            before = await tx.clients.get(client_id, for_update=True)
            profile = before.profile.changed(changes)
            if "auth_token" in changes:
                profile = self._tokens.seal(profile, before.profile.auth_token)
            client = replace(before, profile=profile, updated_at=now)
            if "tags" in changes:
                client = client.of_device(await tx.enrolments.of_client(client_id))
            await tx.clients.put_profile(before, client)
            forgotten = "auth_token" not in changes and client.profile.auth_token != before.profile.auth_token
            event = replace(update_of(before, client), fields=tuple(sorted(changes)), token_forgotten=forgotten)
            await tx.events.append(event)
        self.newcomers.notice([client])
        return client

    async def remove(self, client_id: str) -> None:
        """Forget a client and revoke the key of its agent; the rounds that it took part in stay. Raises `NotFound`.

        If its device had enrolled, no other one can take its id, unless an operator lets it replace the device.
        """
        async with self._db.begin() as tx:
            await tx.clients.remove(client_id)
            ended = await self._keys.revoke_of(tx, client_id)
            await tx.events.append(ClientRemoved(client_id=client_id))
        self._keys.forget(ended)
        self.signs.forget([client_id])

    async def heartbeat(
        self, client_id: str, *, bandwidth: float | None, latency: float | None, instance: str | None = None
    ) -> None:
        """Record a sign of life of an agent's `instance`, with its measurements of its link. Raises `NotFound`.

        One that says nothing new is written a moment later, see `SignsOfLife`.
        """
        self._metrics.heartbeats.inc()
        if bandwidth is None and latency is None and self.signs.note(client_id, instance):
            return
        now = self._clock.now()
        async with self._db.begin() as tx:
            client = await tx.clients.get(client_id, for_update=True, labels=False)
            seen = self._seen(client.observed(bandwidth=bandwidth, latency=latency), instance, None)
            await tx.clients.put(alive_again(seen, now))
            await self._tell(tx, client, seen)
            if client.status != "healthy":
                await tx.events.append(ClientHealthy(client_id=client_id, was=client.status))
        if seen.identity.conflict is None:  # of a conflict each sign of life is looked at
            self.signs.remember(client_id, instance)

    def _seen(self, client: Client, instance: str | None, url: str | None) -> Client:
        """The client after a sign of life of an agent's `instance`."""
        now = self._clock.now()
        identity = client.identity.seen(now, instance=instance, url=url, interval=self._interval)
        return replace(client, identity=identity)

    async def _tell(self, tx: Transaction, before: Client, after: Client) -> None:
        """Tell operators of a conflict that has begun between agents that share an id."""
        known, conflict = before.identity.conflict, after.identity.conflict
        if conflict is None or (known is not None and known.since == conflict.since):
            return
        urls, instances = conflict.urls, conflict.instances
        self._metrics.identity_conflicts.inc()
        await tx.events.append(ClientIdentityConflict(client_id=after.id, urls=urls, instances=instances))
        log.warning("two agents share one client id", client=after.id, urls=list(urls), instances=list(instances))

    async def get(self, client_id: str) -> Client:
        """Raises `NotFound`."""
        async with self._db.glance() as tx:
            return await tx.clients.get(client_id)

    async def page(
        self,
        *,
        limit: int,
        after: str | None,
        status: ClientStatus | None,
        tags: Collection[tuple[str, str]],
        healthy: bool | None = None,
        breaker: BreakerState | None = None,
    ) -> Part[Client]:
        """Clients in the order of their ids; fewer than `limit` where more would be too long for an answer."""
        async with self._db.read() as tx:
            return await tx.clients.page(
                limit=limit,
                after=after,
                status=status,
                tags=tags,
                healthy=healthy,
                breaker=breaker,
                most_bytes=LISTED,
            )

    async def count(self, metrics: Metrics) -> None:
        """Bring the gauges up to date: how many clients are in which status, how many breakers are not closed."""
        async with self._db.read() as tx:
            by_status, open_breakers = await tx.clients.count_by_status(), await tx.clients.count_open_breakers()
        metrics.count_clients(by_status)
        metrics.open_breakers.set(open_breakers)
