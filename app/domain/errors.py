"""The errors of the control plane, as typed data. `app.http.problems` maps each class to an HTTP status."""

from collections.abc import Sequence

from tcsfeel.errors import TcsFeelError


class NotFound(TcsFeelError):
    """Nothing of this kind is stored under this name."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} {name!r}")
        self.kind = kind
        self.name = name


class Removed(TcsFeelError):
    """The thing existed and has been removed; its row in the history is still there."""

    def __init__(self, kind: str, name: str, advice: str = "") -> None:
        super().__init__(f"the {kind} {name} has been removed{advice and f': {advice}'}")
        self.kind = kind
        self.name = name


class AlreadyExists(TcsFeelError):
    """The id is already in use."""

    def __init__(self, kind: str, names: Sequence[str]) -> None:
        shown = ", ".join(repr(name) for name in names[:5])
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""  # noqa: PLR2004  (as many as shown)
        super().__init__(f"{kind} {shown}{more} is already registered: use PUT to replace it")
        self.kind = kind
        self.names = tuple(names)


class Forbidden(TcsFeelError):
    """The caller is known, and its role does not allow the call."""

    def __init__(self, role: str, needed: str, client_id: str | None = None) -> None:
        if client_id is not None:
            super().__init__(f"this key is of the agent of the client {client_id!r}, and allows only calls about it")
        else:
            super().__init__(f"this key has the role {role}, and this call needs the role {needed}")
        self.role = role
        self.needed = needed
        self.client_id = client_id


class InvitationNeeded(TcsFeelError):
    """This server does not let keys of people and programs register new clients."""

    def __init__(self) -> None:
        super().__init__(
            "this server lets devices register only with a key of their own, which they get with an invitation: set "
            "TCSFEEL_AUTH__REGISTER_BY_KEY to true to register clients with this key"
        )


class StateForbids(TcsFeelError):
    """The call is not possible in the current state."""

    def __init__(self, action: str, kind: str, state: str) -> None:
        super().__init__(f"cannot {action} a {kind} that is {state}")
        self.action = action
        self.kind = kind
        self.state = state


class LimitReached(TcsFeelError):
    """A caller uses as much as the setting of a limit allows. `limit` is the name of the setting, in lower case."""

    def __init__(self, limit: str, sentence: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{sentence}; the limit is set by TCSFEEL_LIMITS__{limit.upper()}")
        self.limit = limit
        self.retry_after = retry_after


class StorageLimitReached(LimitReached):
    """What the trainings of a key store is as much as the setting of a limit allows."""


class IllegalTransition(TcsFeelError):
    """A state machine got an event that its table does not allow in this status. Nothing was changed."""

    def __init__(self, status: str, event: str) -> None:
        super().__init__(f"the event {event!r} is not possible in the status {status!r}")
        self.status = status
        self.event = event


class WrongInvitation(TcsFeelError):
    """A device wants to enrol without the secret of an invitation."""

    def __init__(self) -> None:
        super().__init__(
            "send the header `Authorization: Bearer SECRET` with the secret of an invitation, which an operator makes"
        )


class InvitationOver(TcsFeelError):
    """The secret is right, but no more devices can enrol with this invitation."""

    def __init__(self, invitation_id: str, state: str) -> None:
        what = {"used_up": "has been used up", "expired": "has expired", "revoked": "has been revoked"}
        why = what.get(state, f"is {state}")
        super().__init__(f"the invitation {invitation_id} {why}: ask an operator for a new one")
        self.invitation_id = invitation_id
        self.state = state


class CannotEnrol(TcsFeelError):
    """The id or the public key belongs to another device."""

    def __init__(
        self,
        client_id: str,
        reason: str,
        advice: str = "an operator can let a new device take its place by POST /v1/clients/{id}/replacement",
    ) -> None:
        shown = advice.replace("{id}", client_id)
        super().__init__(f"cannot enrol as {client_id!r}: {reason}{shown and f'; {shown}'}")
        self.client_id = client_id
        self.reason = reason
