"""Enrol devices: give each a client id and a key of its own.

A device that repeats its request, because the answer got lost, gets a new key. It does not use up the invitation again.
All that belongs to an enrolment is written in one transaction, which holds the row of the invitation. So an invitation
is never used more often than it allows.
"""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from app.clock import Clock
from app.domain.clients import Client
from app.domain.errors import CannotEnrol, NotFound
from app.domain.events.clients import ClientEnrolled, ClientReplaced
from app.domain.invitations import LONGEST_ID, Enrolment, Invitation, Outcome, outcome
from app.services.access.api_keys import ApiKeys, NewKey
from app.services.access.secrets import ServerSecret
from app.store.database import Database
from app.store.transaction import Transaction
from tcsfeel.errors import Invalid
from tcsfeel.identity import Identity, is_public_key, verify
from tcsfeel.wire.enrolment import proof_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What a device gets. The text of its key can be shown only now."""

    client_id: str
    key: NewKey
    tags: Mapping[str, str]
    server_public_key: str


class Enrolments:
    """The use case of enrolling."""

    def __init__(self, db: Database, clock: Clock, secret: ServerSecret, keys: ApiKeys) -> None:
        self._db = db
        self._clock = clock
        self._keys = keys
        self._server_public_key = Identity(secret.derive("signing")).public_key

    async def enrol(self, invitation: Invitation, *, client_id: str | None, public_key: str, proof: bytes) -> Enrolled:
        """Enrol a device that has shown the secret of the invitation. If it wants no particular id, it gets one.

        Raises:
            Invalid: the invitation is not for this id, or the device does not have the private key.
            InvitationOver: the invitation cannot be used any more.
            CannotEnrol: the id or the public key belongs to another device.
        """
        if client_id is not None:
            invitation.check_id(client_id)
        _check_proof(invitation.id, client_id, public_key, proof)
        async with self._db.begin() as tx:
            invitation = await tx.invitations.get(invitation.id, for_update=True)
            of_key = await tx.enrolments.of_key(public_key)
            name = client_id or _chosen(invitation, of_key)
            client = await _held(tx, name)
            before = await tx.enrolments.of_client(name, for_update=True)
            what = outcome(
                invitation,
                name,
                public_key,
                now=self._clock.now(),
                of_key=of_key,
                of_id=before,
                is_registered=client is not None,
                is_revoked=before is not None and not await self._keys.goes_on(tx, before.key_id),
            )
            ended = await self._keys.revoke_of(tx, name)  # those that an admin has made for it, too
            key = await self._keys.issue(tx, name=f"agent {name}", role="agent", client_id=name)
            after = Enrolment(
                client_id=name,
                public_key=public_key,
                invitation_id=invitation.id,
                key_id=key.key.id,
                enrolled_at=self._clock.now(),
                tags=invitation.tags,
            )
            await _write(tx, invitation, before, after, what)
            if client is not None:
                await tx.clients.put_profile(client, client.of_device(after).let_in())
        self._keys.forget(ended)
        return Enrolled(client_id=name, key=key, tags=invitation.tags, server_public_key=self._server_public_key)


def _check_proof(invitation_id: str, client_id: str | None, public_key: str, proof: bytes) -> None:
    """Raise `Invalid` unless the device has the private key of its public key."""
    if not is_public_key(public_key):
        raise Invalid("/public_key", "is not an Ed25519 public key that can be used")
    text = proof_text(invitation_id=invitation_id, client_id=client_id, public_key=public_key)
    if not verify(public_key, proof, text):
        raise Invalid(
            "/proof",
            "is not the signature of this public key over the text of this enrolment, which the page on the agent "
            "protocol shows",
        )


def _chosen(invitation: Invitation, of_key: Enrolment | None) -> str:
    """Choose the id of a device that wants no particular one. If the device repeats, it is the same id."""
    if of_key is not None and of_key.invitation_id == invitation.id:
        return of_key.client_id
    return invitation.made_id(secrets.token_hex(LONGEST_ID))


async def _held(tx: Transaction, client_id: str) -> Client | None:
    with suppress(NotFound):
        return await tx.clients.get(client_id, for_update=True, labels=False)
    return None


async def _write(
    tx: Transaction,
    invitation: Invitation,
    before: Enrolment | None,
    after: Enrolment,
    what: Outcome,
) -> None:
    """Write an enrolment, and count the use of its invitation."""
    if before is not None:
        await tx.enrolments.put(after)
    elif not await tx.enrolments.add(after):  # with another invitation, at the same time
        raise CannotEnrol(after.client_id, "another device has just enrolled under this id or with this public key")
    if what != "repeated":
        await tx.invitations.put(invitation.used_once_more())
    if what == "replaced" and before is not None:
        await tx.events.append(
            ClientReplaced(
                client_id=after.client_id,
                public_key=after.public_key,
                invitation_id=invitation.id,
                was=before.public_key,
            )
        )
    elif what == "enrolled":
        await tx.events.append(
            ClientEnrolled(client_id=after.client_id, public_key=after.public_key, invitation_id=invitation.id)
        )
