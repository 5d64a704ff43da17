"""The state of one task of an agent, and how it ends."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tcsfeel.agent.results import Payload, Update
from tcsfeel.wire.codec import Parameters
from tcsfeel.wire.tasks import Task

State = Literal["running", "done", "failed", "cancelled", "lost"]
Event = Literal["returned", "raised", "deleted", "lost"]

TRANSITIONS: Mapping[tuple[State, Event], State | None] = {
    ("running", "returned"): "done",
    ("running", "raised"): "failed",
    ("running", "deleted"): "cancelled",
    ("done", "deleted"): None,
    ("failed", "deleted"): None,
    ("cancelled", "returned"): None,
    ("cancelled", "raised"): None,
    ("cancelled", "deleted"): "cancelled",
    ("running", "lost"): "lost",
    ("cancelled", "lost"): None,
    ("lost", "deleted"): None,
}  # None: forgotten
OVER = frozenset({"cancelled", "lost"})
"""States in which the same task is new work: it is not wanted, or its parameters could not be fetched."""


@dataclass(eq=False, slots=True)
class Entry:
    """One task and its outcome. `payload` is there when done, `failure` when failed.

    Attributes:
        left: tells how many seconds are left until its trainer should hand over what it has.
        digest: the SHA-256 of the payload.
        traceback: the last lines of the traceback of an exception in the trainer.
        broken: whether the failure is a mistake in the trainer, which would happen again.
    """

    task: Task
    expires_at: float
    left: Callable[[], float]
    state: State = "running"
    payload: Payload | None = None
    digest: bytes = b""
    failure: str = ""
    traceback: str | None = None
    broken: bool = False
    unwanted: threading.Event = field(default_factory=threading.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def unless_settled(self, work: asyncio.Future[Any]) -> None:
        """Wait until some work is done, or the task has ended without it."""
        gone = asyncio.create_task(self.settled.wait())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an event of a task brings: the update, or why there is none."""

    event: Event
    update: Update | None = None
    digest: bytes = b""
    control: Parameters | None = None
    failure: str = ""
    traceback: str | None = None
    broken: bool = False
