"""One client's task in a round: how far it has come, what it has cost, and what it showed of its client."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from app.domain.clients import Client
from app.domain.relays import forgiven
from app.domain.rounds import Participation


@dataclass(frozen=True, slots=True)
class TaskRun:
    """How far a task has come, and what it has cost. A task that goes on gets a new value.

    Attributes:
        attempts: how often it was handed over as a new try, by earlier owners as well.
        bytes_sent: of the bodies that were handed over in every try, as far as earlier owners have stored theirs.
        bytes_received: of the results' bodies, as `bytes_sent`.
        asked_at: when it was to be handed over, unix seconds; None before.
        started_at: when the first call of its agent began, unix seconds; None where there was none.
        answered: whether its result has come in.
        over: whether it has ended without an update that counts, which may not be stored yet.
        slow: whether the agent took unusually long to accept it.
        moved_at: when bytes of its bodies were last seen to move, unix seconds; None where that was not seen.
        bandwidth: Mbps at which the result came in; None where there is none, or where it was too small to tell.
        sent_before: bytes that were handed over in earlier rounds, which carried the task into this one.
        resumed: whether an earlier owner or round, or a relay, may have handed it over: the agent is asked first then.
    """

    attempts: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    asked_at: float | None = None
    started_at: float | None = None
    answered: bool = False
    over: bool = False
    slow: bool = False
    moved_at: float | None = None
    bandwidth: float | None = None
    sent_before: int = 0
    resumed: bool = False

    @classmethod
    def of(cls, part: Participation) -> Self:
        """Make the run of a participation's task, which goes on from what the task has cost until now."""
        return cls(
            attempts=part.attempts,
            bytes_sent=part.bytes_sent,
            bytes_received=part.bytes_received,
            sent_before=part.sent_before,
        )

    def charged(self, part: Participation, **changes: Any) -> Participation:
        """Give the participation with its task's cost, and with `changes`. To charge it again changes nothing."""
        return replace(
            part,
            attempts=max(part.attempts, self.attempts),
            bytes_sent=max(part.bytes_sent, self.bytes_sent),
            bytes_received=max(part.bytes_received, self.bytes_received),
            **changes,
        )

    def seconds(self, now: float) -> float | None:
        """Give the seconds from the first call of the agent to `now`, unix seconds; None where there was no call."""
        return None if self.started_at is None else now - self.started_at


@dataclass(frozen=True, slots=True)
class Watch:
    """How long an agent was seen to be at work in one try of a task, by the clock of the control plane.

    An agent may say anything of its time: one that claims to train in no time at all would be taken for the fastest.
    So only what is certain is counted: the time from the first to the last answer that said that the agent was at work,
    and the time for which the last call waited at the agent for its answer. Instants are unix seconds.

    Attributes:
        began: the first answer that said that the agent was at work, None before.
        working: the last such answer.
        waited: seconds for which the last call waited for the beginning of its answer.
    """

    began: float | None = None
    working: float = 0.0
    waited: float = 0.0

    def after(self, answer: str, *, asked: float, now: float, body_seconds: float = 0.0) -> "Watch":
        """Give the watch after one more call.

        Args:
            answer: what the agent answered: "working", "unknown" (it has lost the task), or anything else.
            asked: when the call went out.
            now: when the whole answer was there.
            body_seconds: how long the answer's body took to come in.
        """
        waited = max(0.0, now - asked - body_seconds)
        if answer == "working":
            return Watch(now if self.began is None else self.began, now, waited)
        return Watch(None if answer == "unknown" else self.began, self.working, waited)

    @property
    def seconds(self) -> float:
        """For how long the agent was certainly at work, once there is a result."""
        return self.waited + (0.0 if self.began is None else max(0.0, self.working - self.began))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a client's task showed of the client, besides what its participation says.

    Attributes:
        excused: whether the server is to blame for a result that is missing.
        faulty: whether the client failed or was wrong, rather than that it could not be reached.
        slow: whether the agent took unusually long to accept the task.
        bandwidth: Mbps at which the result came in, None where that was not measured.
        train_seconds: how long the trainer worked on an update that was received.
        quality: `update_quality` of an update that was received.
        sketch: what such an update says of its client's labels, where the client itself says nothing.
        encoding: how the tensors of such an update were encoded.
        coding: the content coding that such an update came in.
        relaying: of a relay, the share of its children whose updates it has brought, 0..1; None if it was no relay.
        links: what a relay has measured of its links, in s/MB, by child.
    """

    excused: bool = False
    faulty: bool = False
    slow: bool = False
    bandwidth: float | None = None
    train_seconds: float | None = None
    quality: float | None = None
    sketch: tuple[float, ...] | None = None
    encoding: str = "full"
    coding: str = "identity"
    relaying: float | None = None
    links: Mapping[str, float] = field(default_factory=dict)


def learned(client: Client, part: Participation, seen: Observation) -> Client:
    """Give a client as it is known after a participation has ended; its breaker is left as it was."""
    came = part.status == "received"
    if came and seen.relaying is None:
        client = forgiven(client)
    return replace(
        client.observed(
            reliability=1.0 if came else None if seen.excused else 0.0,
            train_seconds=seen.train_seconds if came else None,
            bandwidth=seen.bandwidth,
            last_update_quality=seen.quality if came else None,
            relaying=None if seen.excused else seen.relaying,
        ),
        rounds_completed=client.rounds_completed + came,
        last_seen_at=part.finished_at if came else client.last_seen_at,
        status="healthy" if came else client.status,
    )
