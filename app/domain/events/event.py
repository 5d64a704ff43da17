"""What every event has."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

Subject = Literal[
    "client", "breaker", "connectivity", "training", "model", "round", "participation", "evaluation"
]  # fmt: skip

PLACES = ("training_id", "round", "client_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The base of all events.

    Attributes:
        type: the name that is stored. A class that has one of its own is a kind of event.
        subject: what the event is about.
        added_in: the version that has written such events first.
    """

    type: ClassVar[str]
    subject: ClassVar[Subject]
    added_in: ClassVar[str] = "0.1.0"

    def place(self) -> dict[str, Any]:
        """Give the ids of the training, the round and the client that it is about, None where it is about none."""
        return {name: getattr(self, name, None) for name in PLACES}

    def data(self) -> dict[str, Any]:
        """Give all other fields by their names; every event of a type has the same ones."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in PLACES}
