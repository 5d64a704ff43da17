"""Webhooks: to whom events are sent, and when a delivery that failed is tried again.

Each event is sent at least once: a server that is killed after a delivery, before it could store that, leaves the event
to its successor. Each try has the same id, so a receiver can drop what it has already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0)
"""Seconds from a try that failed to the next one. After one more try than there are pauses, the delivery is dead."""
JITTER = 0.2  # by which a pause may be longer, so that many deliveries do not come back together

DeliveryState = Literal["waiting", "dead"]
HIDDEN = "webhook."
"""The beginning of the types of events that are not sent, since a webhook that fails would cause ever more of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A receiver of events. Instants are unix seconds.

    Attributes:
        types: the types of events that it wants; all if it is empty.
        training_id: the training whose events it wants; None for those of all trainings, and all others.
        secret: the secret that signs deliveries, encrypted.
        enabled: whether events are sent. Those of the time in which they are not are sent afterwards.
        cursor: the id of the last event that it got, or that waits among its deliveries.
        delivered_at: when it took an event the last time.
        failing_since: when the first try after that failed; None if the last try succeeded.
        problem: why the last try failed.
    """

    id: str
    name: str | None = None
    url: str
    types: tuple[str, ...] = ()
    training_id: str | None = None
    secret: str = field(repr=False)
    enabled: bool = True
    cursor: int
    created_at: float
    created_by: str
    updated_at: float
    delivered_at: float | None = None
    failing_since: float | None = None
    problem: str | None = None

    @property
    def wants(self) -> tuple[frozenset[str], str | None]:
        """Which events it wants: their types, and their training."""
        return frozenset(self.types), self.training_id

    def changed(self, changes: Mapping[str, Any], now: float) -> "Webhook":
        """Return the webhook with some fields changed. One that is enabled again begins without a problem."""
        after = replace(self, **changes, updated_at=now)
        return replace(after, failing_since=None, problem=None) if after.enabled and not self.enabled else after

    def met(self, problem: str | None, now: float) -> "Webhook":
        """Return the webhook after some tries, of which the last one had a `problem`, or none."""
        if problem is None:
            return replace(self, delivered_at=now, failing_since=None, problem=None)
        since = now if self.failing_since is None else self.failing_since
        return replace(self, failing_since=since, problem=problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event that a webhook did not take yet.

    Attributes:
        body: the JSON text that is sent.
        attempts: the tries that failed.
        next_at: when the next one is due. That of a dead delivery is when it was given up.
        status: the status of the last answer; None if there was none.
        problem: why the last try failed.
    """

    webhook_id: str
    event_id: int
    type: str
    body: str
    state: DeliveryState = "waiting"
    attempts: int = 0
    next_at: float = 0.0
    status: int | None = None
    problem: str | None = None

    @property
    def message_id(self) -> str:
        """The id by which a receiver recognises an event that it has already."""
        return f"evt_{self.webhook_id}_{self.event_id}"

    def failed(self, problem: str, status: int | None, now: float, *, jitter: float) -> "Delivery":
        """Return the delivery after another try failed. `jitter` is in [0, 1]: how much of `JITTER` to add."""
        attempts = self.attempts + 1
        if attempts > len(PAUSES):
            return replace(self, state="dead", attempts=attempts, next_at=now, status=status, problem=problem)
        pause = PAUSES[attempts - 1] * (1 + JITTER * jitter)
        return replace(self, attempts=attempts, next_at=now + pause, status=status, problem=problem)

    def redelivered(self, now: float) -> "Delivery":
        """Return a dead delivery as it is to be tried again, with all its tries."""
        return replace(self, state="waiting", attempts=0, next_at=now)
