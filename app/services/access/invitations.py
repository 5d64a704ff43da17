"""Invite devices, and tell who has enrolled. The secret of an invitation is known only to the caller that makes it."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from app.clock import Clock
from app.domain.errors import NotFound, WrongInvitation
from app.domain.events.invitations import InvitationCreated, InvitationRevoked
from app.domain.invitations import Enrolment, Invitation, InvitationState
from app.services.access.secrets import ServerSecret
from app.store.database import Database
from app.store.reading import Part
from app.store.transaction import Transaction
from tcsfeel.wire.enrolment import invitation_of, invitation_secret

LOOKUPS = 2  # at the same time, so that callers with invented secrets cannot take all connections to the database
_ID_BYTES = 8
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation that was just made, with its secret, which can be shown only now."""

    invitation: Invitation
    secret: str

    def __repr__(self) -> str:
        return f"NewInvitation({self.invitation.id!r})"


class Invitations:
    """Use cases around invitations."""

    def __init__(self, db: Database, clock: Clock, secret: ServerSecret) -> None:
        self._db = db
        self._clock = clock
        self._secret = secret
        self._lookups = asyncio.Semaphore(LOOKUPS)

    async def create(
        self,
        *,
        uses: int,
        lifetime_seconds: float,
        id_pattern: str | None = None,
        tags: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> NewInvitation:
        """Make an invitation for `uses` devices."""
        async with self._db.begin() as tx:
            return await self._made(
                tx, uses=uses, lifetime_seconds=lifetime_seconds, id_pattern=id_pattern, tags=tags or {}, name=name
            )

    async def replace(self, client_id: str, *, lifetime_seconds: float) -> NewInvitation:
        """Make an invitation for one device, which takes the place of a client's device.

        It keeps the tags that the client has from its invitation. Raises `NotFound` if there is no such client.
        """
        async with self._db.begin() as tx:
            enrolment = await tx.enrolments.of_client(client_id)
            if enrolment is None:
                await tx.clients.get(client_id, labels=False)
            return await self._made(
                tx,
                uses=1,
                lifetime_seconds=lifetime_seconds,
                id_pattern=client_id,
                tags={} if enrolment is None else enrolment.tags,
                replaces=client_id,
            )

    async def _made(
        self,
        tx: Transaction,
        *,
        uses: int,
        lifetime_seconds: float,
        id_pattern: str | None,
        tags: Mapping[str, str],
        name: str | None = None,
        replaces: str | None = None,
    ) -> NewInvitation:
        now, invitation_id = self._clock.now(), secrets.token_hex(_ID_BYTES)
        secret = invitation_secret(invitation_id, secrets.token_hex(_SECRET_BYTES))
        invitation = Invitation(
            id=invitation_id,
            secret_hash=self._secret.keyed_hash(secret),
            uses=uses,
            created_at=now,
            expires_at=now + lifetime_seconds,
            name=name,
            id_pattern=id_pattern,
            tags=tags,
            replaces=replaces,
        )
        await tx.invitations.add(invitation)
        await tx.events.append(
            InvitationCreated(
                invitation_id=invitation_id,
                name=name,
                uses=uses,
                id_pattern=id_pattern,
                replaces=replaces,
                expires_at=invitation.expires_at,
            )
        )
        return NewInvitation(invitation, secret)

    async def shown(self, secret: str | None) -> Invitation:
        """Find the invitation that a secret belongs to. Raises `WrongInvitation` if the secret is not that of any.

        Callers without the right secret are told nothing about an invitation, not even that it exists.
        """
        invitation_id = invitation_of(secret or "")
        if secret is None or invitation_id is None:
            raise WrongInvitation
        try:
            async with self._lookups:
                invitation = await self.get(invitation_id)
        except NotFound:
            raise WrongInvitation from None
        if not self._secret.matches(secret, invitation.secret_hash):
            raise WrongInvitation
        return invitation

    async def get(self, invitation_id: str) -> Invitation:
        """Read an invitation. Raises `NotFound`."""
        async with self._db.glance() as tx:
            return await tx.invitations.get(invitation_id)

    def state(self, invitation: Invitation) -> InvitationState:
        """Tell whether an invitation can be used now, or why not."""
        return invitation.state(self._clock.now())

    async def page(self, *, limit: int, after: tuple[float, str] | None = None) -> Part[Invitation]:
        """Read a page of invitations, newest first."""
        async with self._db.read() as tx:
            return await tx.invitations.page(limit=limit, after=after)

    async def enrolments(self, invitation_id: str, *, limit: int, after: str | None = None) -> Part[Enrolment]:
        """Read a page of the devices that have enrolled with an invitation, by client id. Raises `NotFound`."""
        async with self._db.read() as tx:
            await tx.invitations.get(invitation_id)
            return await tx.enrolments.page(invitation_id, limit=limit, after=after)

    async def revoke(self, invitation_id: str) -> None:
        """End an invitation. Devices that have enrolled with it keep their keys. Raises `NotFound`."""
        async with self._db.begin() as tx:
            invitation = await tx.invitations.get(invitation_id, for_update=True)
            if invitation.revoked_at is None:
                await tx.invitations.put(invitation.revoked(self._clock.now()))
                await tx.events.append(InvitationRevoked(invitation_id=invitation_id, used=invitation.used))
