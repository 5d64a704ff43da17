"""The circuit breaker in front of one client: a frozen value, so that replicas and restarts agree on it.

closed --(failures in a row, or a failure or slow rate over the last calls)--> open
open --(its time is over, a caller asks)--> half-open, which admits exactly one probe
half-open --(the probe succeeds)--> closed; --(it fails)--> open again, twice as long

A probe has a deadline, so that a prober that dies cannot hold the breaker half-open for ever: once it has passed, the
next caller gets the permit. A probe that is called off gives its permit back. Isolated by hand, a breaker stays open
until it is reset by hand.

Its last failures are kept with it, each with its phase and its reason, so that an operator who finds a client shut out
can see why. They stay when it closes after a success, and are forgotten when it is reset by hand.

An opening or a probe that began in the future, by a clock that was set back since, does not count.

Not every breaker may stay shut: `admissible` lets the least recently failed through where the open ones would keep out
more than a share of the fleet, since an outage that large is more likely ours than theirs (Envoy's panic threshold and
``max_ejection_percent`` follow the same reasoning).
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from app.domain.instants import lies_ahead
from tcsfeel.text import moment, plain

BreakerState = Literal["closed", "open", "half_open"]
Outcome = Literal["ok", "slow", "failed"]
FailurePhase = Literal["fit", "evaluate", "initial model"]

KEPT_FAILURES = 5
SHOWN = 200  # characters of a failure's reason


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a breaker opens and for how long. Times in seconds, rates and shares in 0..1."""

    failures_in_row: int = 3
    window: int = 10
    minimum_calls: int = 5
    failure_rate: float = 0.5
    slow_rate: float = 0.5
    open_seconds: float = 30.0
    max_open_seconds: float = 600.0
    jitter: float = 0.2
    max_shut_out: float = 0.5


DEFAULT_POLICY = BreakerPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One call that failed: in which phase of which round, why, and when (unix seconds)."""

    phase: FailurePhase
    reason: str
    training_id: str | None = None
    round: int | None = None
    at: float = 0.0

    def __str__(self) -> str:
        return f"{self.phase}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """State of one breaker. Instants are unix seconds.

    Attributes:
        outcomes: the last calls, oldest first, at most the policy's window.
        openings: how often in a row it has opened without a success in between.
        retry_at: when an open breaker admits a probe; None when isolated by hand.
        probe_at: when the one probe of a half-open breaker began.
        probe_until: until when the one probe of a half-open breaker may take; None when its permit is free.
        last_failures: oldest first, at most `KEPT_FAILURES`.
    """

    state: BreakerState = "closed"
    consecutive_failures: int = 0
    outcomes: tuple[Outcome, ...] = ()
    openings: int = 0
    opened_at: float | None = None
    retry_at: float | None = None
    probe_at: float | None = None
    probe_until: float | None = None
    last_failure_at: float | None = None
    last_failures: tuple[Failure, ...] = ()

    @property
    def isolated(self) -> bool:
        """Opened by hand."""
        return self.state == "open" and self.retry_at is None

    @property
    def explanation(self) -> str:
        """In which state it is, since when, and the failure that it came from, for people to read."""
        state = f"its breaker is {self.state}"
        if self.opened_at is None:
            return state
        since = f"{state}: {'isolated by hand ' if self.isolated else ''}since {moment(self.opened_at)}"
        if self.isolated or not self.consecutive_failures:
            return since
        last = f" (the last: {self.last_failures[-1]})" if self.last_failures else ""
        return f"{since}, after {self.consecutive_failures} failure(s) in a row{last}"

    def would_admit(self, now: float) -> bool:
        """Whether `admit` would let a call through now."""
        if self.state == "closed":
            return True
        if self.state == "open":
            return self.retry_at is not None and (now >= self.retry_at or lies_ahead(self.opened_at, now))
        return self.probe_until is None or now >= self.probe_until or lies_ahead(self.probe_at, now)

    def admit(self, now: float, probe_seconds: float, *, force: bool = False) -> "Breaker | None":
        """The breaker after letting one call through that takes at most `probe_seconds`, or None where it does not.

        `force` admits a probe before its time (see `admissible`), never past an isolation by hand and never beside
        another probe.
        """
        if self.state == "closed":
            return self
        early = force and self.state == "open" and not self.isolated
        if not (early or self.would_admit(now)):
            return None
        return replace(self, state="half_open", probe_at=now, probe_until=now + probe_seconds)

    def succeed(
        self, now: float, rng: random.Random, policy: BreakerPolicy = DEFAULT_POLICY, *, slow: bool = False
    ) -> "Breaker":
        """After a call that came back well; a success closes a half-open breaker, and its past counts no more."""
        if self.state == "half_open":
            return Breaker(last_failures=self.last_failures)
        succeeded = _recorded(replace(self, consecutive_failures=0), "slow" if slow else "ok", policy)
        return _tripped(succeeded, now, rng, policy)

    def fail(
        self, now: float, rng: random.Random, policy: BreakerPolicy = DEFAULT_POLICY, *, failure: Failure | None = None
    ) -> "Breaker":
        """After a call that failed, as `failure` tells; a half-open breaker opens again at once."""
        failed = replace(self, consecutive_failures=self.consecutive_failures + 1, last_failure_at=now)
        if failure is not None:
            told = replace(failure, at=now, reason=plain(failure.reason, SHOWN))
            failed = replace(failed, last_failures=(*self.last_failures, told)[-KEPT_FAILURES:])
        failed = _recorded(failed, "failed", policy)
        return _opened(failed, now, rng, policy) if self.state == "half_open" else _tripped(failed, now, rng, policy)

    def withdraw(self) -> "Breaker":
        """After a success that turned out to be none: the last of the calls that came back well is not counted."""
        position = next((at for at in reversed(range(len(self.outcomes))) if self.outcomes[at] != "failed"), None)
        if position is None:
            return self
        left = (*self.outcomes[:position], *self.outcomes[position + 1 :])
        failed_last = next((at for at, outcome in enumerate(reversed(left)) if outcome != "failed"), len(left))
        return replace(self, outcomes=left, consecutive_failures=failed_last)

    def release(self) -> "Breaker":
        """After a call that was called off: a probe's permit is free again."""
        return replace(self, probe_at=None, probe_until=None) if self.state == "half_open" else self

    def isolate(self, now: float) -> "Breaker":
        """Open by hand, until `reset`."""
        return replace(self, state="open", opened_at=now, retry_at=None, probe_at=None, probe_until=None)

    def reset(self) -> "Breaker":
        """Close by hand."""
        return Breaker()


def _recorded(breaker: Breaker, outcome: Outcome, policy: BreakerPolicy) -> Breaker:
    return replace(breaker, outcomes=(*breaker.outcomes, outcome)[-policy.window :])


def _tripped(breaker: Breaker, now: float, rng: random.Random, policy: BreakerPolicy) -> Breaker:
    """The breaker, opened if its recorded calls say so. A call let through before it opened does not prolong it."""
    calls = len(breaker.outcomes)
    enough = calls >= policy.minimum_calls
    trips = (
        breaker.consecutive_failures >= policy.failures_in_row
        or (enough and breaker.outcomes.count("failed") >= policy.failure_rate * calls)
        or (enough and breaker.outcomes.count("slow") >= policy.slow_rate * calls)
    )
    return _opened(breaker, now, rng, policy) if breaker.state == "closed" and trips else breaker


def _opened(breaker: Breaker, now: float, rng: random.Random, policy: BreakerPolicy) -> Breaker:
    seconds = min(policy.open_seconds * 2.0 ** min(breaker.openings, 32), policy.max_open_seconds)
    seconds *= 1 + policy.jitter * (2 * rng.random() - 1)
    return replace(
        breaker,
        state="open",
        openings=breaker.openings + 1,
        opened_at=now,
        retry_at=now + seconds,
        probe_at=None,
        probe_until=None,
        outcomes=(),
    )


def admissible(
    breakers: Mapping[str, Breaker], now: float, policy: BreakerPolicy = DEFAULT_POLICY
) -> tuple[frozenset[str], frozenset[str]]:
    """Which clients may be offered work: those whose breaker admits, and those let through by the cap.

    The second set holds clients whose breaker is to be told ``force``: past ``max_shut_out`` of the fleet the least
    recently failed are admitted. Clients isolated by hand and those with a probe in flight stay out.
    """
    admitted = frozenset(name for name, breaker in breakers.items() if breaker.would_admit(now))
    shut = [name for name in breakers if name not in admitted]
    excess = len(shut) - int(policy.max_shut_out * len(breakers))
    waiting = [name for name in shut if breakers[name].state == "open" and not breakers[name].isolated]
    waiting.sort(key=lambda name: (breakers[name].last_failure_at or 0.0, name))
    return admitted, frozenset(waiting[: max(0, excess)])
