"""Outcomes that an outside coordinator reports: calls of clients that it made itself.

A report moves the client's breaker and its moving averages as if the server had made the call, with two differences:

- The server did not admit the call. A call of a client whose breaker admits a probe counts as this probe. While the
  breaker admits none, because it has just opened, was opened by hand, or has another probe under way, a report does not
  move it.
- A success is a sign of life, because the client may send no heartbeats.
"""

import random
from dataclasses import dataclass, replace
from typing import Literal

from app.domain.clients import Client
from app.domain.failures import Failure, FailureKind

Phase = Literal["fit", "evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of one call.

    Attributes:
        failure: what failed; None if the call succeeded.
        phase: which work the call was about. Only fits count for the averages.
        seconds: how long the call took.
        slow: whether that was unusually long, which counts for the breaker.
        update_quality: the quality of the update, 0..1.
        reliability: the client's reliability, 0..1, if the coordinator knows it better than the average does.
    """

    failure: Failure | None = None
    phase: Phase = "fit"
    seconds: float | None = None
    slow: bool = False
    update_quality: float | None = None
    reliability: float | None = None

    @property
    def outcome(self) -> Literal["success"] | FailureKind:
        """The outcome in one word."""
        return "success" if self.failure is None else self.failure.kind


def reported(client: Client, report: Report, now: float, rng: random.Random) -> Client:
    """Return the client after a report that came at `now` (unix seconds)."""
    known = client
    if report.phase == "fit":
        came = report.failure is None
        known = client.observed(
            reliability=1.0 if came else 0.0,
            train_seconds=report.seconds if came else None,
            last_update_quality=report.update_quality,
        )
    if report.reliability is not None:
        known = replace(known, measured=replace(known.measured, reliability=report.reliability))
    if report.failure is not None:
        return _failed(known, report.failure, now, rng)
    admitted = known.breaker.admit(now, 0.0)
    breaker = known.breaker if admitted is None else admitted.succeed(now, rng, slow=report.slow)
    failures = known.failures.evaluated() if report.phase == "evaluate" else known.failures
    return replace(known, breaker=breaker, failures=failures, status="healthy", last_seen_at=now)


def _failed(client: Client, failure: Failure, now: float, rng: random.Random) -> Client:
    admitted = client.breaker.admit(now, 0.0) if failure.shuts_out else None
    if admitted is not None:
        return replace(client, breaker=admitted).failed(failure, now, rng)
    counted = client.failures.counted(failure.shown(now))
    wrong = failure.phase == "evaluate" and failure.kind == "faulty"
    return replace(client, failures=counted.evaluated_wrongly() if wrong else counted)
