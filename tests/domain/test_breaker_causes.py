"""A breaker names the rule that opened it, and its last failures."""

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


def test_what_is_told_of_a_failure_is_short() -> None:
    breaker = Breaker().fail(NOW, MIDDLE, failure=Failure(phase="fit", reason="x" * 10**6))
    assert breaker.last_failures[0].reason == "x" * 199 + "…"
