"""A task on its way to an agent, and what happened to it so far."""

from dataclasses import dataclass, field, replace
from typing import Self

from app.domain.breaker import Failure
from app.domain.clients import Client, Profile
from app.domain.rounds import Participation, excuse
from app.services.tasks.watch import Watch
from app.store.leases import Lease
from app.store.model_store import ModelStore, StoredFile
from tcsfeel.wire.codec import Packed
from tcsfeel.wire.compression import IDENTITY
from tcsfeel.wire.tasks import EncodingName, Task


@dataclass(slots=True)
class TaskRun:
    """What happened to one task so far; its owner reads it also when the run is called off.

    Attributes:
        attempts: how often it was handed over as a new try, by earlier owners as well.
        bytes_sent: of the bodies that were handed over, every try's, as far as earlier owners have stored theirs.
        bytes_received: of the results' bodies, as `bytes_sent`.
        resumed: whether an earlier owner may have handed it over, so that the agent is asked first.
        asked_at: when it was to be handed over, unix seconds; None before.
        profile: what its client says of itself, as it was last read: it may have moved since its task was made.
        started_at: when the first call of its agent began, unix seconds; None where there was none.
        file: the result in the spool as it came, once there is one.
        coding: the content coding that it came in.
        encoding: the one that an accepted update came in.
        reason: why there is no result, or why it was not accepted.
        bandwidth: Mbps at which the result came in, where it was large enough to tell.
        watch: how long the agent was seen to be at work in the last try.
        train_seconds: how long the trainer worked, once the result was accepted.
        quality: `update_quality` of an accepted result.
        sketch: what an accepted update says of its client's labels, where the client itself says nothing.
        slow: whether an agent took unusually long to accept the task.
        excused: whether the server is to blame for a result that is missing.
    """

    attempts: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    resumed: bool = False
    asked_at: float | None = None
    profile: Profile | None = None
    started_at: float | None = None
    file: StoredFile | None = None
    coding: str = IDENTITY
    encoding: EncodingName = "full"
    reason: str | None = None
    bandwidth: float | None = None
    watch: Watch = field(default_factory=Watch)
    train_seconds: float | None = None
    quality: float | None = None
    sketch: tuple[float, ...] | None = None
    slow: bool = False
    excused: bool = False

    @classmethod
    def of(cls, part: Participation, *, resumed: bool) -> Self:
        """Make the run of a participation's task, which goes on from what the task has cost until now."""
        return cls(
            attempts=part.attempts,
            bytes_sent=part.bytes_sent,
            bytes_received=part.bytes_received,
            resumed=resumed,
        )

    def charged(self, part: Participation) -> Participation:
        """Give the participation with what its task has cost. To charge it again changes nothing."""
        return replace(
            part,
            attempts=max(part.attempts, self.attempts),
            bytes_sent=max(part.bytes_sent, self.bytes_sent),
            bytes_received=max(part.bytes_received, self.bytes_received),
        )

    def seconds(self, now: float) -> float | None:
        """Seconds from the first call of the agent to `now`, unix seconds; None where there was no call."""
        return None if self.started_at is None else now - self.started_at

    def excuse(self, now: float) -> str | None:
        """Why the client is not to blame if there is nothing of it at `now`, unix seconds; None where it is."""
        return excuse(asked_at=self.asked_at, started_at=self.started_at, answered=self.file is not None, now=now)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task for a client, the model that goes with it, and where the result is spooled.

    The result may be in the coding `accept`, and have at most `limit` bytes as it comes. Failures count against the
    client as long as `lease` holds.
    """

    client: Client
    task: Task
    model: Packed
    spool: ModelStore
    accept: str = IDENTITY
    limit: int | None = None
    lease: Lease | None = None

    def failure(self, reason: str) -> Failure:
        """What a client's breaker is told when its task came to nothing."""
        task = self.task
        return Failure(phase=task.kind, training_id=task.training_id, round=task.round, reason=reason)
