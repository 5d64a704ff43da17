"""How often a caller may call."""

import pytest

from app.domain.rates import BURST_SECONDS, share, used_up_after, wait


def sent(calls: int, rate: float, at: float = 0.0) -> float:
    """Until when a caller has used up its calls that sent some of them at the same time."""
    used_up = 0.0
    for _ in range(calls):
        used_up = used_up_after(used_up, at, rate)
    return used_up


def test_a_caller_may_send_the_calls_of_ten_seconds_at_once_and_no_more() -> None:
    assert wait(sent(20, 2.0), 0.0) == 0
    assert wait(sent(21, 2.0), 0.0) == 0.5


def test_a_caller_that_is_behind_waits_for_nothing() -> None:
    assert wait(sent(1, 2.0), 0.0) == 0


def test_time_gives_calls_back() -> None:
    assert wait(used_up_after(sent(20, 2.0), 0.5, 2.0), 0.5) == 0
    assert used_up_after(sent(20, 2.0), 100.0, 2.0) == 100.5  # a long pause gives no more than the calls of ten seconds


@pytest.mark.parametrize(
    ("here", "elsewhere", "allowed"),
    [
        (30.0, 0.0, 100.0),  # alone: all of it
        (30.0, 50.0, 50.0),  # what the others leave
        (50.0, 50.0, 50.0),
        (300.0, 100.0, 75.0),  # too much of it: parts as large as what is asked for
        (100.0, 300.0, 25.0),
    ],
)
def test_all_servers_together_allow_the_limit(here: float, elsewhere: float, allowed: float) -> None:
    assert share(100.0, here, elsewhere) == allowed


def test_a_part_is_never_so_small_that_no_call_can_pass() -> None:
    allowed = share(1.0, 0.1, 1e6)
    assert wait(sent(1, allowed), 0.0) == 0
    assert allowed == 1 / BURST_SECONDS
