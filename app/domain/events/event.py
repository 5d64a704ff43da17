"""The base class of all events."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

Subject = Literal[
    "client", "breaker", "invitation", "connectivity", "training", "model", "round", "participation", "evaluation",
    "key", "webhook",
]  # fmt: skip

PLACES = ("training_id", "round", "client_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The base of all events.

    Attributes:
        type: the name that is stored. Only a class that defines it is a kind of event.
        subject: what the event is about.
        added_in: the first version that writes events of this type.
    """

    type: ClassVar[str]
    subject: ClassVar[Subject]
    added_in: ClassVar[str] = "0.1.0"

    def place(self) -> dict[str, Any]:
        """Return the ids of the training, the round and the client that the event is about, or None."""
        return {name: getattr(self, name, None) for name in PLACES}

    def data(self) -> dict[str, Any]:
        """Return all other fields by their names. All events of a type have the same fields."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in PLACES}
