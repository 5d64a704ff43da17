"""``/v1/invitations``, ``/v1/enrolments``: devices get keys of their own."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response, status

from app.http.answers import created_invitation, enrolled_out, invitation_out
from app.http.deps import AppAttempt, AppEnrolments, AppInvitations, ShownInvitation
from app.http.descriptions import responses, with_headers
from app.http.pages import Cursor, Limit, decode_cursor, page_of
from app.http.requests import proof
from app.http.roles import Needs
from app.http.routes import ApiRoute
from tcsfeel.contract.fields import ID_PATTERN
from tcsfeel.contract.invitations import (
    EXAMPLE_ID,
    INVITATIONS,
    REPLACEMENTS,
    CreatedInvitation,
    CreateInvitation,
    CreateReplacement,
    EnrolClient,
    EnrolledOut,
    EnrolmentOut,
    InvitationOut,
)
from tcsfeel.contract.pages import Page

router = APIRouter(prefix="/v1", tags=["invitations"], route_class=ApiRoute)

_LOCATION = with_headers(Location="The invitation's path")

Id = Annotated[str, Path(pattern=ID_PATTERN, examples=[EXAMPLE_ID])]
ClientId = Annotated[str, Path(pattern=ID_PATTERN, examples=["edge-7"])]


@router.post(
    "/invitations",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_201_CREATED,
    responses=responses(413, 415, also={201: _LOCATION}),
)
async def create_invitation(
    invitations: AppInvitations,
    response: Response,
    body: Annotated[CreateInvitation | None, Body(examples=INVITATIONS)] = None,
) -> CreatedInvitation:
    """Make an invitation, with which devices enrol. The answer has its secret, which no other answer shows."""
    asked = body or CreateInvitation()
    new = await invitations.create(
        uses=asked.uses,
        lifetime_seconds=asked.expires_in_seconds,
        id_pattern=asked.id_pattern,
        tags=asked.tags,
        name=asked.name,
    )
    response.headers["Location"] = f"/v1/invitations/{new.invitation.id}"
    return created_invitation(new, invitations.state(new.invitation))


@router.get("/invitations", openapi_extra=Needs.viewer)
async def list_invitations(
    *, invitations: AppInvitations, limit: Limit = 100, cursor: Cursor = None
) -> Page[InvitationOut]:
    """List invitations, newest first."""
    found = await invitations.page(limit=limit, after=decode_cursor(cursor, float, str))
    return page_of(found, lambda one: invitation_out(one, invitations.state(one)), lambda one: (one.created_at, one.id))


@router.get("/invitations/{invitation_id}", openapi_extra=Needs.viewer, responses=responses(404))
async def get_invitation(invitation_id: Id, invitations: AppInvitations) -> InvitationOut:
    """Read an invitation."""
    found = await invitations.get(invitation_id)
    return invitation_out(found, invitations.state(found))


@router.get("/invitations/{invitation_id}/enrolments", openapi_extra=Needs.viewer, responses=responses(404))
async def list_enrolments(
    *, invitation_id: Id, invitations: AppInvitations, limit: Limit = 100, cursor: Cursor = None
) -> Page[EnrolmentOut]:
    """List the devices that have enrolled with an invitation, in the order of their client ids."""
    after = decode_cursor(cursor, str)
    found = await invitations.enrolments(invitation_id, limit=limit, after=after[0] if after else None)
    return page_of(found, EnrolmentOut.of, lambda one: (one.client_id,))


@router.delete(
    "/invitations/{invitation_id}",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_204_NO_CONTENT,
    responses=responses(404),
)
async def revoke_invitation(invitation_id: Id, invitations: AppInvitations) -> None:
    """Revoke an invitation: no more devices can enrol with it. Devices that have enrolled keep their keys."""
    await invitations.revoke(invitation_id)


@router.post(
    "/clients/{client_id}/replacement",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_201_CREATED,
    responses=responses(404, 413, 415, also={201: _LOCATION}),
)
async def create_replacement(
    client_id: ClientId,
    invitations: AppInvitations,
    response: Response,
    body: Annotated[CreateReplacement | None, Body(examples=REPLACEMENTS)] = None,
) -> CreatedInvitation:
    """Make an invitation for one new device, which takes the place of a client's device.

    When the new device enrols, the key of the old one is revoked at once. The client keeps its history.
    """
    asked = body or CreateReplacement()
    new = await invitations.replace(client_id, lifetime_seconds=asked.expires_in_seconds)
    response.headers["Location"] = f"/v1/invitations/{new.invitation.id}"
    return created_invitation(new, invitations.state(new.invitation))


@router.post(
    "/enrolments",
    openapi_extra=Needs.invitation,
    status_code=status.HTTP_201_CREATED,
    responses=responses(401, 409, 410, 413, 415),
)
async def enrol_client(
    body: EnrolClient, invitation: ShownInvitation, enrolments: AppEnrolments, attempt: AppAttempt
) -> EnrolledOut:
    """Enrol a device. The answer has the device's own key, which no other answer shows.

    A device that gets no answer sends the same request again. It then gets a new key, and the invitation is not used
    again.
    """
    enrolled = await enrolments.enrol(
        invitation, client_id=body.client_id, public_key=body.public_key, proof=proof(body)
    )
    attempt.add(client_id=enrolled.client_id, key_id=enrolled.key.key.id)
    return enrolled_out(enrolled)
