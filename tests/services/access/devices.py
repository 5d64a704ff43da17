"""Devices that enrol, and the services that they enrol at."""

from dataclasses import dataclass
from typing import Any

from app.services.access.enrolments import Enrolled, Enrolments
from app.services.access.invitations import Invitations, NewInvitation
from app.services.fleet.clients import Clients
from app.settings import HealthSettings
from app.store.database import Database
from tcsfeel.identity import Identity
from tcsfeel.wire.enrolment import proof_text
from tests.services.access.replicas import Server, server
from tests.services.fakes import TOKENS, metrics

DAY = 86_400.0


def proof(device: Identity, invitation_id: str, client_id: str | None) -> bytes:
    text = proof_text(invitation_id=invitation_id, client_id=client_id, public_key=device.public_key)
    return device.sign(text)


@dataclass
class Gate:
    """A replica at which devices enrol."""

    server: Server
    invitations: Invitations
    enrolments: Enrolments
    clients: Clients

    async def invite(self, uses: int = 1, **fields: Any) -> NewInvitation:
        return await self.invitations.create(**{"uses": uses, "lifetime_seconds": DAY} | fields)

    async def enrol(self, new: NewInvitation, client_id: str | None, device: Identity) -> Enrolled:
        """Do what a device does, with the secret of an invitation."""
        shown = await self.invitations.shown(new.secret)
        given = proof(device, shown.id, client_id)
        return await self.enrolments.enrol(shown, client_id=client_id, public_key=device.public_key, proof=given)


def gate(db: Database) -> Gate:
    found = server(db)
    return Gate(
        found,
        Invitations(db, found.clock, found.secret),
        Enrolments(db, found.clock, found.secret, found.keys),
        Clients(db, found.clock, metrics(), HealthSettings(), TOKENS, keys=found.keys),
    )
