"""API keys: who may use each of them, and until when."""

import re
import secrets
from dataclasses import dataclass, replace
from typing import Literal

from app.domain.errors import StateForbids
from app.domain.principals import Principal, Role

KeyState = Literal["valid", "expired", "revoked"]

TEXT = re.compile(r"tcsfeel_(?P<role>viewer|operator|admin|agent)_(?P<id>[0-9a-f]{12})_[0-9a-f]{48}")
"""The text of a key. Scanners of source code can find keys by this pattern."""
_ID_BYTES = 6
_SECRET_BYTES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key, without its text, which nobody stores. Instants are in unix seconds.

    Attributes:
        client_id: the client whose agent has the key; None unless the role is `agent`.
        hash: the keyed hash of its text.
        created_by: the name of the caller that made it.
        expires_at: when it stops being valid; None if it does not expire.
        replaces: the id of the key that was rotated to this one.
        secret_id: the id of the server's secret that made the hash; None if an earlier version made it.
    """

    id: str
    name: str
    role: Role
    client_id: str | None
    hash: bytes
    created_at: float
    created_by: str
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    replaces: str | None = None
    secret_id: str | None = None

    def state(self, now: float) -> KeyState:
        """Tell whether the key is valid at a time."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "valid"

    @property
    def principal(self) -> Principal:
        """The caller that has this key."""
        return Principal(self.role, self.name, self.id, self.client_id)

    def rotated(self, *, now: float, grace_seconds: float) -> "ApiKey":
        """Return this key with the end that it has once another one replaces it. Raises `StateForbids`."""
        if (state := self.state(now)) != "valid":
            raise StateForbids("rotate", "key", state)
        end = now + grace_seconds
        return replace(self, expires_at=end if self.expires_at is None else min(end, self.expires_at))


def new_id() -> str:
    """Make an id for a key."""
    return secrets.token_hex(_ID_BYTES)


def new_text(role: Role, key_id: str) -> str:
    """Make the text of a key, with 192 random bits."""
    return f"tcsfeel_{role}_{key_id}_{secrets.token_hex(_SECRET_BYTES)}"
