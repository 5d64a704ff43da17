"""A breaker names the rule that opened it, and its last failures."""

import pytest

from app.domain.breaker import Breaker
from app.domain.failures import Failure
from tcsfeel.text import moment
from tests.domain.test_breaker import MIDDLE, NOW, after, probing


def test_a_breaker_names_the_rule_that_opened_it() -> None:
    assert after("failed", "ok", "failed", "ok", "failed").cause == "3 of its last 5 calls failed"
    assert after("slow", "ok", "slow", "ok", "slow").cause == "3 of its last 5 calls were slow"
    slow = after("slow", "ok", "slow", "ok", "slow")
    assert slow.explanation == f"its breaker is open: since {moment(NOW)}, after 3 of its last 5 calls were slow"
    assert after("ok", breaker=probing(slow)).cause is None
    assert Breaker().isolate(NOW).cause == "isolated by hand"


@pytest.mark.parametrize(("count", "told"), [(1, "1 failure in a row"), (3, "3 failures in a row")])
def test_a_breaker_that_kept_no_cause_counts_its_failures(count: int, told: str) -> None:
    breaker = Breaker(state="open", consecutive_failures=count, opened_at=NOW, retry_at=NOW)
    assert breaker.explanation == f"its breaker is open: since {moment(NOW)}, after {told}"


def test_a_success_that_was_none_leaves_the_failures_around_it_in_a_row() -> None:
    breaker = after("failed", "ok", "failed").withdraw()
    assert (breaker.outcomes, breaker.consecutive_failures) == (("failed", "failed"), 2)


def test_what_is_told_of_a_failure_is_short() -> None:
    breaker = Breaker().fail(NOW, MIDDLE, failure=Failure(phase="fit", reason="x" * 10**6))
    assert breaker.last_failures[0].reason == "x" * 199 + "…"
