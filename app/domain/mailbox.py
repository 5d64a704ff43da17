"""The tasks that agents ask for: which states they pass through, and what is known of one.

An agent that pulls is never called. Its tasks wait in a mailbox, which every server on the same database reads:

- A task is `offered` by the owner of its round. Offering it again changes nothing while it is open.
- It is `taken` when its agent has asked for it. An agent that lost it, for example by a restart, may take it again.
- It is `delivered` with a result or a failure. The first delivery counts, and every later one is refused.
- It is `cancelled` when nothing needs it any more. It may be offered again after that, under the same id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from app.domain.errors import IllegalTransition
from app.domain.rounds import Evidence

MailState = Literal["offered", "taken", "delivered", "cancelled"]
MailEvent = Literal["offer", "take", "deliver", "fail", "cancel"]

TRANSITIONS: Mapping[tuple[MailState, MailEvent], MailState] = MappingProxyType(
    {
        ("offered", "offer"): "offered",
        ("offered", "take"): "taken",
        ("offered", "deliver"): "delivered",  # by an agent that has trained it before it was offered again
        ("offered", "cancel"): "cancelled",
        ("taken", "offer"): "taken",
        ("taken", "take"): "taken",
        ("taken", "deliver"): "delivered",
        ("taken", "fail"): "delivered",
        ("taken", "cancel"): "cancelled",
        ("delivered", "offer"): "delivered",
        ("delivered", "cancel"): "cancelled",
        ("cancelled", "offer"): "offered",
        ("cancelled", "cancel"): "cancelled",
    }
)
OPEN: frozenset[MailState] = frozenset({"offered", "taken"})
WANTED: frozenset[MailState] = OPEN | {"delivered"}
MOST_KNOWN = 16  # tasks that an agent may name, and thus have at once
MOST_TAKES = 4  # of one offer: an agent that takes a task more often never finishes it
LATE = "its round went on without it, so forget the task"
KEPT_SECONDS = 3600.0  # after its deadline, for which the mailbox tells a late agent that a task was cancelled


def next_state(state: MailState, event: MailEvent) -> MailState:
    """Return the state after an event. Raises `IllegalTransition`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(state, event) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailedTask:
    """A task in the mailbox. Instants are unix seconds.

    Attributes:
        document: the task as JSON, as its agent gets it but for the seconds that are left.
        model: the name of the file of the model store with the tensors that come with it; None if it has none.
        accept: the content coding that the result may be in.
        most_bytes: how many bytes the result may have.
        attempts: how often the agent took it since it was last offered.
        bytes_sent: of all bodies that the agent was sent, over all offers.
        call: what the control plane signed when the agent took it.
        sent_seconds: the `deadline_seconds` of the body that the agent was sent last, which makes the same body again.
        sent_digest: the SHA-256 of that body.
        traceparent: the step of the round's trace that has offered it, as in W3C Trace Context; None without traces.
        moved_at: when bytes of its bodies were last seen to move between its agent and a server.
        result: the name of the file of the model store with the result.
        size: the bytes of the result, which came in the content coding `coding` and within `seconds`.
        failure: why there is no result, as the agent said: a problem document.
    """

    id: str
    client_id: str
    training_id: str
    round: int
    kind: str
    state: MailState = "offered"
    document: str
    model: str | None = None
    accept: str = "identity"
    most_bytes: int
    attempts: int = 0
    bytes_sent: int = 0
    offered_at: float
    deadline_at: float
    taken_at: float | None = None
    call: str | None = None
    sent_seconds: float | None = None
    sent_digest: str | None = None
    traceparent: str | None = None
    moved_at: float | None = None
    delivered_at: float | None = None
    result: str | None = None
    size: int = 0
    coding: str = "identity"
    seconds: float = 0.0
    evidence: Evidence | None = None
    failure: str | None = None

    @property
    def files(self) -> set[str]:
        """The names of its files in the model store."""
        return {name for name in (self.model, self.result) if name is not None}

    @property
    def worked_seconds(self) -> float:
        """How long the agent had the task, without the time for which its result came in."""
        if self.taken_at is None or self.delivered_at is None:
            return 0.0
        return max(0.0, self.delivered_at - self.taken_at - self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What an agent has delivered: a result, or a failure. The fields are those of `MailedTask`."""

    result: str | None = None
    size: int = 0
    coding: str = "identity"
    seconds: float = 0.0
    evidence: Evidence | None = None
    failure: str | None = None

    @property
    def event(self) -> MailEvent:
        return "deliver" if self.failure is None else "fail"
