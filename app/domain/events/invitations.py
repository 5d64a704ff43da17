"""Events of invitations, with which devices enrol."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from app.domain.events.event import Event, Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class OfInvitation(Event):
    """The base of events of one invitation."""

    subject: ClassVar[Subject] = "invitation"

    invitation_id: Annotated[str, "the id of the invitation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationCreated(OfInvitation):
    """An operator made an invitation."""

    type: ClassVar[str] = "invitation.created"

    name: Annotated[str | None, "its name"] = None
    uses: Annotated[int, "how many devices may enrol with it"]
    id_pattern: Annotated[str | None, "the ids that devices may have"] = None
    replaces: Annotated[str | None, "the client whose device is to be replaced"] = None
    expires_at: Annotated[float, "when it expires, in unix seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationRevoked(OfInvitation):
    """An operator revoked an invitation. Devices that have enrolled with it keep their keys."""

    type: ClassVar[str] = "invitation.revoked"

    used: Annotated[int, "how many devices had enrolled with it"]
