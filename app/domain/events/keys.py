"""Events of API keys."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from app.domain.events.event import Event, Subject
from app.domain.keys import ApiKey
from app.domain.principals import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class OfKey(Event):
    """The base of events of one key."""

    subject: ClassVar[Subject] = "key"

    client_id: str | None = None
    key_id: Annotated[str, "the id of the key"]
    name: Annotated[str, "its name"]
    role: Annotated[Role, "its role"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCreated(OfKey):
    """A key was made."""

    type: ClassVar[str] = "key.created"

    @classmethod
    def of(cls, key: ApiKey) -> "KeyCreated":
        """Make the event of a new key."""
        return cls(client_id=key.client_id, key_id=key.id, name=key.name, role=key.role)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotated(OfKey):
    """A key was replaced by a new one, and both are valid for a time."""

    type: ClassVar[str] = "key.rotated"

    replacement: Annotated[str, "the id of the new key"]

    @classmethod
    def of(cls, key: ApiKey, replacement: str) -> "KeyRotated":
        """Make the event of a key and of the one that replaces it."""
        return cls(client_id=key.client_id, key_id=key.id, name=key.name, role=key.role, replacement=replacement)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRevoked(OfKey):
    """A key was revoked."""

    type: ClassVar[str] = "key.revoked"

    @classmethod
    def of(cls, key: ApiKey) -> "KeyRevoked":
        """Make the event of a key."""
        return cls(client_id=key.client_id, key_id=key.id, name=key.name, role=key.role)
