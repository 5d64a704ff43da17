"""Retries: how many, and after which pause."""

import random

import pytest

from app.domain.retries import RetryBudget, pause


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
