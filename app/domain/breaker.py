"""The circuit breaker in front of one client: a frozen value, so that replicas and restarts agree on it.

closed --(failures in a row, or a failure or slow rate over the last calls)--> open
open --(its time is over, a caller asks)--> half-open, which admits exactly one probe
open --(for the first time, for a client that was out of reach and has come back)--> its time is over
half-open --(the probe succeeds)--> closed; --(it fails)--> open again, twice as long

A probe has a deadline, so that a prober that dies cannot hold the breaker half-open for ever. After the deadline, the
next caller gets the permit. A probe that is cancelled gives its permit back. A breaker that was opened by hand stays
open until it is reset by hand.

A breaker keeps its last failures, each with its phase and its reason, so that an operator can see why a client is shut
out. They are kept when the breaker closes after a success, and dropped when it is reset by hand.

An opening or a probe that began in the future does not count: the clock was set back since then.

If open breakers would shut out more than a share of the fleet, `admissible` lets the clients through that failed least
recently, since the cause of such a large outage is more likely the server than the clients (Envoy's panic threshold and
``max_ejection_percent`` follow the same reasoning).
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from app.domain.failures import Failure
from app.domain.instants import lies_ahead
from tcsfeel.text import moment

BreakerState = Literal["closed", "open", "half_open"]
Outcome = Literal["ok", "slow", "failed"]

KEPT_FAILURES = 5


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
class Breaker:
    """The state of one breaker. Times are in unix seconds.

    Attributes:
        outcomes: the last calls, oldest first, at most the policy's window.
        openings: how often in a row it has opened without a success in between.
        retry_at: when an open breaker admits a probe; None when isolated by hand.
        probe_at: when the one probe of a half-open breaker began.
        probe_until: when the one probe of a half-open breaker times out; None when its permit is free.
        last_failures: oldest first, at most `KEPT_FAILURES`.
        cause: what opened it the last time, unless it has closed since.
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
    cause: str | None = None

    @property
    def isolated(self) -> bool:
        """Whether it was opened by hand."""
        return self.state == "open" and self.retry_at is None

    @property
    def explanation(self) -> str:
        """Describe for people in which state it is, since when, what opened it, and the kind of its last failure.

        It does not quote the reason of the failure, because selections show it to people who may not read what agents
        answer.
        """
        state = f"its breaker is {self.state}"
        if self.opened_at is None:
            return state
        since = f"{state}: {'isolated by hand ' if self.isolated else ''}since {moment(self.opened_at)}"
        if self.isolated:
            return since
        cause = self.cause or (_in_a_row(self) if self.consecutive_failures else "")
        last = ""
        if self.last_failures:
            failure = self.last_failures[-1]
            last = f" (the last in {failure.phase}, {failure.kind}; the client's breaker lists the reasons)"
        return f"{since}, after {cause}{last}" if cause else f"{since}{last}"

    def would_admit(self, now: float) -> bool:
        """Whether `admit` would let a call through now."""
        if self.state == "closed":
            return True
        if self.state == "open":
            return self.retry_at is not None and (now >= self.retry_at or lies_ahead(self.opened_at, now))
        return self.probe_until is None or now >= self.probe_until or lies_ahead(self.probe_at, now)

    def admit(self, now: float, probe_seconds: float, *, force: bool = False) -> "Breaker | None":
        """Let a call of at most `probe_seconds` through. Returns the breaker after it, or None if it refuses the call.

        `force` admits a probe early (see `admissible`), but never if the breaker was opened by hand or has another
        probe.
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
        """Return the breaker after a call that succeeded.

        This closes a half-open breaker, and clears its past calls.
        """
        if self.state == "half_open":
            return Breaker(last_failures=self.last_failures)
        succeeded = _recorded(replace(self, consecutive_failures=0), "slow" if slow else "ok", policy)
        return _tripped(succeeded, now, rng, policy)

    def fail(
        self, now: float, rng: random.Random, policy: BreakerPolicy = DEFAULT_POLICY, *, failure: Failure | None = None
    ) -> "Breaker":
        """Return the breaker after a call that failed with `failure`. A half-open breaker opens again at once."""
        failed = replace(self, consecutive_failures=self.consecutive_failures + 1, last_failure_at=now)
        if failure is not None:
            failed = replace(failed, last_failures=(*self.last_failures, failure.shown(now))[-KEPT_FAILURES:])
        failed = _recorded(failed, "failed", policy)
        if self.state != "half_open":
            return _tripped(failed, now, rng, policy)
        return _opened(failed, now, rng, policy, cause="its probe failed")

    def withdraw(self) -> "Breaker":
        """Return the breaker without its last success, which turned out not to be one."""
        position = next((at for at in reversed(range(len(self.outcomes))) if self.outcomes[at] != "failed"), None)
        if position is None:
            return self
        left = (*self.outcomes[:position], *self.outcomes[position + 1 :])
        failed_last = next((at for at, outcome in enumerate(reversed(left)) if outcome != "failed"), len(left))
        return replace(self, outcomes=left, consecutive_failures=failed_last)

    def release(self) -> "Breaker":
        """Return the breaker after a call that was cancelled. If it was a probe, its permit is free again."""
        return replace(self, probe_at=None, probe_until=None) if self.state == "half_open" else self

    def hasten(self, now: float) -> "Breaker":
        """Return the breaker of a client that was silent and has sent a sign of life: it may be probed at once.

        This holds only for the first opening in a row, after a failure to reach the client. So a client that comes and
        goes gets no task each time, and one whose work is wrong stays out.
        """
        waits = self.state == "open" and not self.isolated and self.openings == 1
        if not waits or not self.last_failures or self.last_failures[-1].kind != "unreachable":
            return self
        return replace(self, retry_at=now)

    def isolate(self, now: float) -> "Breaker":
        """Open by hand, until `reset`."""
        return replace(
            self, state="open", opened_at=now, retry_at=None, probe_at=None, probe_until=None, cause="isolated by hand"
        )

    def reset(self) -> "Breaker":
        """Close by hand."""
        return Breaker()


def _recorded(breaker: Breaker, outcome: Outcome, policy: BreakerPolicy) -> Breaker:
    return replace(breaker, outcomes=(*breaker.outcomes, outcome)[-policy.window :])


def _tripped(breaker: Breaker, now: float, rng: random.Random, policy: BreakerPolicy) -> Breaker:
    """Open the breaker if its recorded calls require it. A call that began before it opened does not prolong that."""
    cause = _cause(breaker, policy)
    return breaker if breaker.state != "closed" or cause is None else _opened(breaker, now, rng, policy, cause=cause)


def _cause(breaker: Breaker, policy: BreakerPolicy) -> str | None:
    """Say which of the rules of `policy` opens a breaker, or return None."""
    calls = len(breaker.outcomes)
    failed, slow = breaker.outcomes.count("failed"), breaker.outcomes.count("slow")
    if breaker.consecutive_failures >= policy.failures_in_row:
        return _in_a_row(breaker)
    if calls < policy.minimum_calls:
        return None
    if failed >= policy.failure_rate * calls:
        return f"{failed} of its last {calls} calls failed"
    return f"{slow} of its last {calls} calls were slow" if slow >= policy.slow_rate * calls else None


def _in_a_row(breaker: Breaker) -> str:
    count = breaker.consecutive_failures
    return f"{count} {'failure' if count == 1 else 'failures'} in a row"


def _opened(breaker: Breaker, now: float, rng: random.Random, policy: BreakerPolicy, *, cause: str) -> Breaker:
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
        cause=cause,
    )


def admissible(
    breakers: Mapping[str, Breaker],
    now: float,
    policy: BreakerPolicy = DEFAULT_POLICY,
    *,
    closed: int = 0,
) -> tuple[frozenset[str], frozenset[str]]:
    """Find the clients that may get work: those whose breaker admits a call, and those that the cap lets through.

    The second set holds clients whose breaker is to be told ``force``: past ``max_shut_out`` of the fleet the least
    recently failed are admitted. Clients isolated by hand and those with a probe in flight stay out. `closed` is how
    many clients the fleet has besides, all with a closed breaker.
    """
    admitted = frozenset(name for name, breaker in breakers.items() if breaker.would_admit(now))
    shut = [name for name in breakers if name not in admitted]
    excess = len(shut) - int(policy.max_shut_out * (len(breakers) + closed))
    waiting = [name for name in shut if breakers[name].state == "open" and not breakers[name].isolated]
    waiting.sort(key=lambda name: (breakers[name].last_failure_at or 0.0, name))
    return admitted, frozenset(waiting[: max(0, excess)])
