"""Retries: how many, and after which pause."""

import random

import pytest

from app.domain.retries import RetryBudget, Setbacks, busy_pause, pause


@pytest.mark.parametrize(
    ("first_tries", "retries"),
    [(0, 0), (1, 1), (5, 1), (6, 2), (10, 2), (11, 3), (15, 3), (30, 6), (1000, 200)],  # a fifth, rounded up
)
def test_a_phase_may_spend_a_fifth_of_its_first_tries(first_tries: int, retries: int) -> None:
    assert RetryBudget.of(first_tries).left == retries


def test_a_task_has_three_tries() -> None:
    budget = RetryBudget(10)
    assert budget.spend(1)
    assert budget.spend(2)
    assert not budget.spend(3)
    assert not budget.spend(4)
    assert budget.left == 8  # a refusal costs nothing


def test_an_empty_budget_gives_no_retry() -> None:
    budget = RetryBudget(1)
    assert budget.spend(1)
    assert not budget.spend(1)
    assert budget.left == 0


@pytest.mark.parametrize(
    ("tries", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 10.0), (100, 10.0)]
)
def test_pauses_are_drawn_from_nothing_up_to_a_bound_that_doubles(tries: int, longest: float) -> None:
    rng = random.Random(3)  # noqa: S311  (jitter, not a secret)
    pauses = [pause(tries, rng) for _ in range(500)]
    assert min(pauses) < 0.02 * longest
    assert 0.98 * longest < max(pauses) <= longest
    assert sum(pauses) / len(pauses) == pytest.approx(longest / 2, rel=0.1)


def test_setbacks_are_followed_by_pauses_that_double_up_to_two_seconds() -> None:
    setbacks = Setbacks()
    assert setbacks.begin(100.0) == 0.0
    setbacks.give_back()
    assert [setbacks.fail(101.0) for _ in range(6)] == pytest.approx([0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    setbacks.end()
    assert setbacks.fail(101.0) == pytest.approx(0.2)


def test_a_round_gets_back_the_time_from_the_first_setback_to_the_last_try() -> None:
    setbacks = Setbacks()
    setbacks.begin(100.0)
    setbacks.give_back()
    setbacks.fail(160.0)  # a minute of the round was well spent
    assert setbacks.begin(160.2) == pytest.approx(0.2)
    setbacks.fail(170.2)  # it did not even get into the round: nothing was given back
    assert setbacks.begin(170.6) == pytest.approx(10.6)
    setbacks.give_back()
    setbacks.fail(171.6)  # into the round, and out of it a second later
    assert setbacks.begin(172.4) == pytest.approx(1.8)
    setbacks.give_back()
    setbacks.end()
    assert setbacks.begin(300.0) == 0.0


@pytest.mark.parametrize(
    ("seconds", "pause", "lost"),
    [(5.0, 0.4, 5.25), (5.5, 0.2, 0.25)],  # that are no more than five are lost, and so is the pause of 0.25 after them
)
def test_a_try_of_more_than_five_seconds_in_the_round_got_somewhere(seconds: float, pause: float, lost: float) -> None:
    setbacks = Setbacks()
    setbacks.begin(100.0)
    setbacks.fail(100.0)
    setbacks.begin(100.75)
    setbacks.give_back()
    assert setbacks.fail(100.75 + seconds) == pytest.approx(pause)
    assert setbacks.begin(101.0 + seconds) == lost


def test_a_try_that_got_somewhere_is_not_lost() -> None:
    setbacks = Setbacks()
    setbacks.begin(100.0)
    setbacks.give_back()
    setbacks.fail(101.0)
    setbacks.begin(101.2)
    setbacks.give_back()
    assert setbacks.fail(161.2) == pytest.approx(0.2)
    assert setbacks.begin(161.4) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("times", "seconds"), [(1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, 30.0), (7, 30.0), (10_000, 30.0)]
)
def test_a_busy_agent_is_asked_again_after_pauses_that_double(times: int, seconds: float) -> None:
    assert busy_pause(times) == seconds
    assert busy_pause(times, asked=seconds - 0.5) == seconds
    assert busy_pause(times, asked=45.0) == 45.0
