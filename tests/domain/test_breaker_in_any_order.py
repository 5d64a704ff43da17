"""The circuit breaker against a model that remembers everything."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.domain.breaker import Breaker, Outcome

NOW = 1000.0


class BreakerMachine(RuleBasedStateMachine):
    """Against a model that keeps the whole history: every opening, every permit, by plain bookkeeping."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.rng = random.Random(1)  # noqa: S311  (jitter, not a secret)
        self.breaker = Breaker()
        self.state = "closed"
        self.failures = 0
        self.calls: list[str] = []
        self.openings = 0
        self.permit_until: float | None = None
        self.by_hand = False

    @rule(seconds=st.sampled_from([0.0, 1.0, 25.0, 37.0, 130.0, 721.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(force=st.booleans())
    def ask(self, force: bool) -> None:
        admitted = self.breaker.admit(self.now, 60.0, force=force)
        if self.state == "closed":
            assert admitted is self.breaker
            return
        over = self.breaker.retry_at is not None and self.now >= self.breaker.retry_at
        free = self.permit_until is None or self.now >= self.permit_until
        due = not self.by_hand and (force or over) if self.state == "open" else free
        assert (admitted is not None) == due
        if admitted is not None:
            self.breaker, self.state, self.permit_until = admitted, "half_open", self.now + 60.0

    @rule(outcome=st.sampled_from(["ok", "slow", "failed"]))
    def answer(self, outcome: Outcome) -> None:
        if outcome == "failed":
            self.breaker = self.breaker.fail(self.now, self.rng)
        else:
            self.breaker = self.breaker.succeed(self.now, self.rng, slow=outcome == "slow")
        self.failures = self.failures + 1 if outcome == "failed" else 0
        self.calls.append(outcome)
        if self.state == "half_open":
            if outcome == "failed":
                self.open()
            else:
                self.close()
        elif self.state == "closed":
            last = self.calls[-10:]
            rate = max(last.count("failed"), last.count("slow")) / len(last)
            if self.failures >= 3 or (len(last) >= 5 and rate >= 0.5):
                self.open()

    @rule()
    def call_off(self) -> None:
        self.breaker = self.breaker.release()
        self.permit_until = None

    @rule()
    def isolate(self) -> None:
        self.breaker = self.breaker.isolate(self.now)
        self.state, self.by_hand, self.permit_until = "open", True, None

    @rule()
    @precondition(lambda self: self.state != "closed")
    def reset(self) -> None:
        self.breaker = self.breaker.reset()
        self.close()

    def open(self) -> None:
        self.state, self.by_hand, self.permit_until, self.calls = "open", False, None, []
        seconds = min(600.0, 30.0 * 2**self.openings)
        self.openings += 1
        assert self.breaker.opened_at == self.now
        assert self.breaker.retry_at is not None
        assert 0.8 * seconds <= self.breaker.retry_at - self.now <= 1.2 * seconds

    def close(self) -> None:
        self.state, self.by_hand, self.permit_until = "closed", False, None
        self.failures, self.calls, self.openings = 0, [], 0

    @invariant()
    def agrees(self) -> None:
        assert self.breaker.state == self.state
        assert self.breaker.isolated == (self.state == "open" and self.by_hand)
        assert self.breaker.openings == self.openings
        assert self.breaker.consecutive_failures == self.failures
        assert len(self.breaker.outcomes) <= 10
        assert (self.breaker.admit(self.now, 1.0) is not None) == self.breaker.would_admit(self.now)


BreakerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBreakerMachine = BreakerMachine.TestCase
