"""The circuit breaker: its rules by hand."""

import random
from dataclasses import replace

import pytest

from app.domain.breaker import DEFAULT_POLICY, Breaker, BreakerPolicy, Outcome, admissible
from app.domain.failures import Failure

NOW = 1000.0
STEADY = BreakerPolicy(jitter=0.0)


class Fixed(random.Random):
    """A generator whose every draw is the same number in 0..1."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self._value = value

    def random(self) -> float:
        return self._value


MIDDLE = Fixed(0.5)


def after(*outcomes: Outcome, breaker: Breaker | None = None, policy: BreakerPolicy = STEADY) -> Breaker:
    """A breaker after calls at `NOW`."""
    breaker = breaker or Breaker()
    for outcome in outcomes:
        if outcome == "failed":
            breaker = breaker.fail(NOW, MIDDLE, policy)
        else:
            breaker = breaker.succeed(NOW, MIDDLE, policy, slow=outcome == "slow")
    return breaker


def opened(times: int = 1) -> Breaker:
    """Opened so often in a row, the last time at `NOW`, for 30 s · 2^(times - 1)."""
    breaker = after("failed", "failed", "failed")
    for _ in range(times - 1):
        breaker = after("failed", breaker=probing(breaker))
    return breaker


def probing(breaker: Breaker, now: float | None = None, seconds: float = 60.0) -> Breaker:
    """Half-open: its probe is let through as soon as it may be, or at `now`."""
    assert breaker.retry_at is not None
    admitted = breaker.admit(breaker.retry_at if now is None else now, seconds)
    assert admitted is not None
    return admitted


def test_a_new_breaker_admits() -> None:
    assert Breaker().would_admit(NOW)
    assert Breaker().admit(NOW, 60.0) == Breaker()


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        (["failed"] * 2, "closed"),
        (["failed"] * 3, "open"),  # three in a row
        (["failed", "failed", "ok", "failed", "failed"], "open"),  # 4 of 5 is 80 %, never three in a row
        (["failed", "ok", "failed", "ok"], "closed"),  # 50 %, but of 4 calls only
        (["failed", "ok", "failed", "ok", "failed"], "open"),  # 3 of 5
        (["failed", "ok", "failed", "ok", "ok"], "closed"),  # 2 of 5
        (["ok", "failed", "ok", "failed", "ok", "failed"], "open"),  # 3 of 6, exactly 50 %
        (
            ["failed", "failed", "ok", "failed", "ok"],
            "open",
        ),  # 3 of 5: the fifth call, a success, completes the evidence
        (["failed", "failed", *["ok"] * 7, "failed", "failed"], "closed"),  # the first has left the window: 3 of 10
        (["slow"] * 4, "closed"),  # a slow call is no failure
        (["slow"] * 5, "open"),
        (["slow", "ok", "slow", "ok", "slow"], "open"),  # 3 of 5
        (["slow", "slow", "ok", "ok", "ok"], "closed"),
        (["slow", "failed", "slow", "failed", "ok"], "closed"),  # 2 of 5 each: the two do not add up
        (["failed", "slow", "failed", "slow", "failed"], "open"),  # 3 of 5 failed
    ],
)
def test_when_a_breaker_opens(outcomes: list[Outcome], state: str) -> None:
    assert after(*outcomes).state == state


def test_a_call_that_came_back_well_was_not_slow_unless_said_so() -> None:
    assert Breaker().succeed(NOW, MIDDLE).outcomes == ("ok",)


def test_the_window_holds_the_last_ten_calls() -> None:
    calm: tuple[Outcome, ...] = ("ok",) * 12
    assert after(*calm, "failed").outcomes == (*["ok"] * 9, "failed")


def test_an_open_breaker_remembers_when_and_until_when() -> None:
    breaker = opened()
    assert breaker == Breaker(
        state="open", consecutive_failures=3, openings=1, opened_at=NOW, retry_at=NOW + 30, last_failure_at=NOW,
        cause="3 failures in a row",
    )  # fmt: skip
    assert not breaker.would_admit(NOW + 29.999)
    assert breaker.admit(NOW + 29.999, 60.0) is None
    assert breaker.would_admit(NOW + 30)


@pytest.mark.parametrize(
    ("openings", "seconds"),
    [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 600), (7, 600)],  # 960 and more are cut to 600
)
def test_each_opening_in_a_row_lasts_twice_as_long_up_to_ten_minutes(openings: int, seconds: float) -> None:
    breaker = opened(openings)
    assert breaker.openings == openings
    assert breaker.retry_at == NOW + seconds


def test_a_client_that_is_down_for_ever_breaks_no_arithmetic() -> None:
    breaker = replace(probing(opened()), openings=10**6)
    assert breaker.fail(NOW, MIDDLE, STEADY).retry_at == NOW + 600


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 24.0), (0.5, 30.0), (1.0, 36.0)])  # 30 s ± 20 %
def test_openings_are_jittered_by_a_fifth_either_way(draw: float, seconds: float) -> None:
    breaker = Breaker(consecutive_failures=2).fail(NOW, Fixed(draw), DEFAULT_POLICY)
    assert breaker.retry_at == pytest.approx(NOW + seconds)


def test_a_half_open_breaker_admits_exactly_one_probe() -> None:
    breaker = probing(opened())
    assert (breaker.state, breaker.probe_until) == ("half_open", NOW + 30 + 60)
    assert not breaker.would_admit(NOW + 31)
    assert breaker.admit(NOW + 31, 60.0) is None


def test_a_probe_that_never_comes_back_loses_its_permit_at_its_deadline() -> None:
    breaker = probing(opened())
    assert not breaker.would_admit(NOW + 89.999)
    again = breaker.admit(NOW + 90, 5.0)
    assert again is not None
    assert again == replace(breaker, probe_at=NOW + 90, probe_until=NOW + 95)


def test_a_probe_that_succeeds_closes_and_forgets_the_past() -> None:
    assert after("ok", breaker=probing(opened(4))) == Breaker()
    assert after("slow", breaker=probing(opened(4))) == Breaker()


def test_the_last_failures_outlast_a_success_but_no_reset() -> None:
    told = Failure(phase="evaluate", training_id="t", round=2, reason="answered 500")
    breaker = Breaker()
    for second in range(7):
        breaker = breaker.fail(NOW + second, MIDDLE, STEADY, failure=told)
    assert breaker.last_failures == tuple(replace(told, at=NOW + second) for second in (2, 3, 4, 5, 6))
    assert str(breaker.last_failures[-1]) == "evaluate: answered 500"
    closed = after("ok", breaker=probing(breaker))
    assert closed == Breaker(last_failures=breaker.last_failures)
    assert closed.reset() == Breaker()


@pytest.mark.parametrize(
    ("breaker", "explanation"),
    [
        (Breaker(state="open"), "its breaker is open"),
        (opened(), "its breaker is open: since 1970-01-01 00:16:40 UTC, after 3 failures in a row"),
        (
            replace(opened(), last_failures=(Failure(phase="evaluate", reason="answered 500"),)),
            (
                "its breaker is open: since 1970-01-01 00:16:40 UTC, after 3 failures in a row"
                " (the last in evaluate, faulty; the client's breaker lists the reasons)"
            ),
        ),
        (Breaker().isolate(NOW), "its breaker is open: isolated by hand since 1970-01-01 00:16:40 UTC"),
        (
            Breaker(state="open", opened_at=NOW, retry_at=NOW),
            "its breaker is open: since 1970-01-01 00:16:40 UTC",  # slow calls are no failures
        ),
        (
            probing(opened()),
            "its breaker is half_open: since 1970-01-01 00:16:40 UTC, after 3 failures in a row",
        ),
    ],
)
def test_a_breaker_explains_itself(breaker: Breaker, explanation: str) -> None:
    assert breaker.explanation == explanation


def test_a_probe_that_fails_opens_again() -> None:
    breaker = probing(opened()).fail(NOW + 40, MIDDLE, STEADY)
    assert breaker == Breaker(
        state="open",
        consecutive_failures=4,
        openings=2,
        opened_at=NOW + 40,
        retry_at=NOW + 40 + 60,
        last_failure_at=NOW + 40,
        cause="its probe failed",
    )


def test_a_probe_that_was_called_off_gives_its_permit_back() -> None:
    breaker = probing(opened()).release()
    assert (breaker.state, breaker.probe_until, breaker.openings) == ("half_open", None, 1)
    assert breaker.would_admit(NOW)
    assert breaker.admit(NOW, 60.0) == replace(breaker, probe_at=NOW, probe_until=NOW + 60)


@pytest.mark.parametrize("breaker", [Breaker(), opened(), Breaker().isolate(NOW)])
def test_there_is_no_permit_to_give_back_but_a_probes(breaker: Breaker) -> None:
    assert breaker.release() == breaker


def test_a_call_from_before_the_opening_does_not_prolong_or_shorten_it() -> None:
    breaker = opened()
    failed = breaker.fail(NOW + 10, MIDDLE, STEADY)
    succeeded = breaker.succeed(NOW + 10, MIDDLE, STEADY)
    for late in (failed, succeeded):
        assert (late.state, late.openings, late.retry_at) == ("open", 1, NOW + 30)


def test_isolation_by_hand_lasts_until_it_is_taken_back() -> None:
    breaker = Breaker().isolate(NOW)
    assert breaker.isolated
    assert breaker.opened_at == NOW
    assert not breaker.would_admit(NOW + 10**9)
    assert breaker.admit(NOW + 10**9, 60.0, force=True) is None
    assert after("ok", "failed", "failed", "failed", "failed", breaker=breaker).isolated
    assert breaker.reset() == Breaker()


def test_the_answer_of_a_probe_does_not_end_an_isolation() -> None:
    isolated = probing(opened()).isolate(NOW)
    assert (isolated.probe_at, isolated.probe_until) == (None, None)
    assert after("ok", breaker=isolated).isolated
    assert after("failed", breaker=isolated).isolated


def test_an_open_breaker_can_be_made_to_admit_a_probe_early_but_not_a_second_one() -> None:
    early = opened().admit(NOW + 1, 60.0, force=True)
    assert early is not None
    assert (early.state, early.probe_until) == ("half_open", NOW + 61)
    assert early.admit(NOW + 2, 60.0, force=True) is None


def test_a_closed_breaker_is_not_isolated_and_neither_is_one_that_waits() -> None:
    assert not Breaker().isolated
    assert not opened().isolated
    assert not probing(opened()).isolated


def failed_at(moment: float) -> Breaker:
    return replace(opened(), last_failure_at=moment)


def test_breakers_that_admit_are_admissible_whatever_their_state() -> None:
    breakers = {"closed": Breaker(), "over": replace(opened(), retry_at=NOW), "free": probing(opened()).release()}
    assert admissible(breakers, NOW) == (frozenset(breakers), frozenset())


@pytest.mark.parametrize(
    ("shut", "fleet", "forced"),
    [
        (2, 4, 0),  # half of them: just what may be
        (3, 4, 1),
        (4, 4, 2),
        (1, 3, 0),
        (2, 3, 1),  # half of 3 is 1 whole client
        (1, 2, 0),
        (1, 1, 1),  # half of 1 is none
        (0, 0, 0),
    ],
)
def test_at_most_half_of_the_fleet_is_shut_out(shut: int, fleet: int, forced: int) -> None:
    breakers = {f"c{number}": failed_at(number) if number < shut else Breaker() for number in range(fleet)}
    admitted, let_through = admissible(breakers, NOW)
    assert admitted == {f"c{number}" for number in range(shut, fleet)}
    assert let_through == {f"c{number}" for number in range(forced)}  # the least recently failed first


def test_the_least_recently_failed_is_let_through_whatever_its_name() -> None:
    breakers = {"a": failed_at(30.0), "b": failed_at(10.0), "c": failed_at(20.0)}
    assert admissible(breakers, NOW)[1] == {"b", "c"}  # 1 of 3 may be shut out


def test_the_cap_lets_nobody_past_an_isolation_or_beside_a_probe() -> None:
    shut = {"isolated": Breaker().isolate(NOW), "probed": probing(opened(), NOW + 30), "open": opened(times=2)}
    assert admissible(shut, NOW + 30) == (frozenset(), frozenset({"open"}))  # two may pass, one can


def test_equally_recent_failures_are_let_through_in_the_order_of_their_names() -> None:
    breakers = {name: failed_at(NOW) for name in "dbac"}
    assert admissible(breakers, NOW)[1] == {"a", "b"}


def test_the_share_that_may_be_shut_out_is_the_policys() -> None:
    breakers = {name: failed_at(NOW) for name in "abcd"}
    assert admissible(breakers, NOW, BreakerPolicy(max_shut_out=0.0))[1] == {"a", "b", "c", "d"}
    assert admissible(breakers, NOW, BreakerPolicy(max_shut_out=1.0))[1] == frozenset()
    assert admissible(breakers, NOW, closed=4)[1] == frozenset(), "they are half of the fleet"
