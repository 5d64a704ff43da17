"""Whether a running training makes progress, and since when and why it does not."""

from dataclasses import dataclass
from typing import Literal

ProgressState = Literal["moving", "waiting", "stalled"]


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a running training.

    Attributes:
        state: "waiting" for something outside, such as clients, or "stalled" by trouble of the server's own.
        since: unix seconds; where it does not move, since when it has not.
        reason: what it waits for, or what stalls it. None while it moves.
    """

    state: ProgressState
    since: float
    reason: str | None = None


def progressed(before: Progress | None, state: ProgressState, reason: str | None, now: float) -> Progress:
    """Give the progress after `before`, which stays as it is where nothing has changed."""
    if before is not None and (before.state, before.reason) == (state, reason):
        return before
    goes_on = before is not None and (before.state == "moving") == (state == "moving")
    return Progress(state, before.since if before is not None and goes_on else now, reason)
