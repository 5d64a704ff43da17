"""The operations of invitations and enrolments, one function for each, as in `operations.py`."""

from typing import Any

from tcsfeel.client.messages import call, part_of, with_body
from tcsfeel.client.operations import LIMIT
from tcsfeel.contract.invitations import (
    CreatedInvitation,
    CreateInvitation,
    CreateReplacement,
    EnrolClient,
    EnrolledOut,
    EnrolmentOut,
    InvitationOut,
)
from tcsfeel.contract.pages import Page
from tcsfeel.rest.calls import bearer
from tcsfeel.rest.exchange import Request, Steps
from tcsfeel.rest.paths import path


def create_invitation(invitation: CreateInvitation | None = None, **fields: Any) -> Steps[CreatedInvitation]:
    """Make an invitation, with which devices enrol. Only this answer has its `secret`."""
    request = yield from with_body(Request("POST", "/v1/invitations"), CreateInvitation, invitation, fields)
    return (yield from call(CreatedInvitation, request))


def list_invitations(*, limit: int = LIMIT, cursor: str | None = None) -> Steps[Page[InvitationOut]]:
    """Read one page of the invitations, newest first."""
    request = Request("GET", "/v1/invitations", params=part_of(limit, cursor), repeatable=True)
    return (yield from call(Page[InvitationOut], request))


def get_invitation(invitation_id: str) -> Steps[InvitationOut]:
    """Read an invitation."""
    request = Request("GET", path("/v1/invitations/{invitation_id}", invitation_id), repeatable=True)
    return (yield from call(InvitationOut, request))


def list_enrolments(invitation_id: str, *, limit: int = LIMIT, cursor: str | None = None) -> Steps[Page[EnrolmentOut]]:
    """Read one page of the devices that have enrolled with an invitation, in the order of their client ids."""
    where = path("/v1/invitations/{invitation_id}/enrolments", invitation_id)
    request = Request("GET", where, params=part_of(limit, cursor), repeatable=True)
    return (yield from call(Page[EnrolmentOut], request))


def revoke_invitation(invitation_id: str) -> Steps[None]:
    """Revoke an invitation: no more devices can enrol with it. Devices that have enrolled keep their keys."""
    yield Request("DELETE", path("/v1/invitations/{invitation_id}", invitation_id), repeatable=True)


def create_replacement(
    client_id: str, replacement: CreateReplacement | None = None, **fields: Any
) -> Steps[CreatedInvitation]:
    """Make an invitation for one new device, which takes the place of a client's device."""
    request = Request("POST", path("/v1/clients/{client_id}/replacement", client_id))
    request = yield from with_body(request, CreateReplacement, replacement, fields)
    return (yield from call(CreatedInvitation, request))


def enrol_client(secret: str, enrolment: EnrolClient | None = None, **fields: Any) -> Steps[EnrolledOut]:
    """Enrol a device with the secret of an invitation. The answer has the device's own `key`."""
    request = Request("POST", "/v1/enrolments", headers=bearer(secret), repeatable=True)
    return (yield from call(EnrolledOut, (yield from with_body(request, EnrolClient, enrolment, fields))))
