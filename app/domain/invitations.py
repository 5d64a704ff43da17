"""Invitations, with which devices enrol, and what each of these devices is known by.

Somebody who does not know an invitation's secret learns nothing about it. So a caller checks the secret first, and then
asks the functions here whether the device may enrol.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

from app.domain.errors import CannotEnrol, InvitationOver
from tcsfeel.errors import Invalid

InvitationState = Literal["open", "used_up", "expired", "revoked"]
Outcome = Literal["enrolled", "replaced", "repeated"]

LONGEST_ID = 64
RANDOM_DIGITS = 12  # of an id that is made
ANY_ID = "client-*"  # what ids look like that are made without a pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Permission for `uses` devices to enrol until `expires_at`. Instants are unix seconds.

    Attributes:
        secret_hash: the keyed hash of the secret, which only the devices know.
        id_pattern: the ids that devices may have, with ``*`` for any characters and ``?`` for one; None allows every id
            that no client has.
        tags: the tags that each client gets, and cannot change.
        replaces: the client whose device is replaced by the one that enrols.
    """

    id: str
    secret_hash: bytes = field(repr=False)
    uses: int
    created_at: float
    expires_at: float
    used: int = 0
    name: str | None = None
    id_pattern: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    replaces: str | None = None
    revoked_at: float | None = None

    @property
    def uses_left(self) -> int:
        """How many more devices may enrol, as long as it is valid."""
        return max(0, self.uses - self.used)

    def state(self, now: float) -> InvitationState:
        """Return whether it can be used, or why not."""
        if self.revoked_at is not None:
            return "revoked"
        if now >= self.expires_at:
            return "expired"
        return "open" if self.uses_left else "used_up"

    def revoked(self, now: float) -> "Invitation":
        """Return the invitation after it was revoked. The first time counts."""
        return self if self.revoked_at is not None else replace(self, revoked_at=now)

    def used_once_more(self) -> "Invitation":
        """Return the invitation after another device has enrolled with it."""
        return replace(self, used=self.used + 1)

    def check_id(self, client_id: str) -> None:
        """Raise `Invalid` unless devices may enrol under this id."""
        if self.id_pattern is not None and not fnmatchcase(client_id, self.id_pattern):
            raise Invalid("/client_id", f"should match {self.id_pattern}, which is what this invitation is for")

    def made_id(self, digits: str) -> str:
        """Make an id that the pattern allows of random `digits`, at least `LONGEST_ID` of them."""
        given = iter(digits)
        pattern = self.id_pattern or ANY_ID
        stars, length = pattern.count("*"), len(pattern.replace("*", ""))
        filling = "".join(next(given) for _ in range(min(RANDOM_DIGITS, LONGEST_ID - length))) if stars else ""
        filled = pattern.replace("*", filling, 1).replace("*", "")
        return "".join(next(given) if character == "?" else character for character in filled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """The device that a client id belongs to: its public key, its API key, and the invitation that it enrolled with."""

    client_id: str
    public_key: str
    invitation_id: str
    key_id: str
    enrolled_at: float
    tags: Mapping[str, str] = field(default_factory=dict)


def outcome(
    invitation: Invitation,
    client_id: str,
    public_key: str,
    *,
    now: float,
    of_key: Enrolment | None,
    of_id: Enrolment | None,
    is_registered: bool,
    is_revoked: bool,
) -> Outcome:
    """Decide what it means that a device enrols, whose secret and proof are right.

    Args:
        invitation: the invitation that it enrols with.
        client_id: the id that it will have.
        public_key: its public key.
        now: unix seconds.
        of_key: the enrolment of this public key, if there is one.
        of_id: the enrolment of this id, if there is one.
        is_registered: whether there is a client with this id.
        is_revoked: whether the API key of `of_id` has been revoked.

    Raises:
        InvitationOver: the invitation has expired, has been used up, or has been revoked.
        CannotEnrol: the id or the public key belongs to another device.
    """
    state = invitation.state(now)
    same_device = of_id is not None and of_id.public_key == public_key
    again = same_device and of_id is not None and of_id.invitation_id == invitation.id
    if state != "open" and not (again and state == "used_up"):
        raise InvitationOver(invitation.id, state)
    if of_key is not None and of_key.client_id != client_id:
        raise CannotEnrol(client_id, "its public key belongs to another client: make a new one for each client", "")
    if of_id is not None and invitation.replaces == client_id and not again:
        return "replaced"
    if same_device and is_revoked:
        raise CannotEnrol(client_id, "the key of this client has been revoked")
    if same_device:
        return "repeated" if again else "enrolled"
    if of_id is not None:
        raise CannotEnrol(client_id, "another device has enrolled under this id")
    if is_registered and invitation.id_pattern is None:
        raise CannotEnrol(client_id, "a client without a public key is registered under this id")
    return "enrolled"
