"""Participation debt, round by round."""

import numpy as np
import pytest

from tcsfeel.selection.debt import participation_debt
from tcsfeel.selection.types import History


def rounds(*chosen: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(names) for names in chosen)


def test_nobody_owes_anything_before_the_first_round() -> None:
    assert participation_debt("abc", History()).tolist() == [0, 0, 0]


def test_it_grows_by_an_even_share_and_falls_by_taking_part() -> None:
    # K/N = 1/4 a round: after a, a takes -3/4 and the others 1/4; after b, a is at -1/2, b at -1/2, c and d at 1/2
    assert participation_debt("abcd", History(rounds("a", "b"))).tolist() == [-0.5, -0.5, 0.5, 0.5]


def test_it_never_falls_below_minus_one() -> None:
    # a: -3/4, then -3/4 + 1/4 - 1 = -3/2, held at -1
    assert participation_debt("abcd", History(rounds("a", "a"))).tolist() == [-1, 0.5, 0.5, 0.5]


def test_taking_part_every_time_with_everybody_costs_nothing() -> None:
    assert participation_debt("ab", History(rounds("ab", "ab"))).tolist() == [0, 0]
    assert participation_debt("a", History(rounds("a"))).tolist() == [0]


def test_a_newcomer_starts_at_the_mean_of_the_others() -> None:
    # Among a and b alone: after round 1, a is at -1/2, b at 1/2. c joins: 0, then + 1/3 for round 2, in which b pays.
    debt = participation_debt("abc", History(rounds("a", "b"), {"c": 1}))

    assert debt.tolist() == pytest.approx([-1 / 2 + 1 / 3, 1 / 2 + 1 / 3 - 1, 1 / 3])


def test_who_joined_after_the_last_round_is_at_the_mean_too() -> None:
    # after two rounds of a: a is at -1 (held), b at 1
    assert participation_debt("abc", History(rounds("a", "a"), {"c": 2})).tolist() == [-1, 1, 0]


def test_the_mean_of_the_others_rises_where_the_floor_has_held_one_of_them() -> None:
    # Three rounds of a: it is at -1/2, -1 and -1 (held), b at 1/2, 1 and 3/2, together at a mean of 1/4.
    thrice = rounds("a", "a", "a")
    assert participation_debt("abc", History(thrice, {"c": 3})).tolist() == [-1, 1.5, 0.25]
    # In a fourth round of nobody c is there from the start, at the same mean.
    assert participation_debt("abc", History((*thrice, frozenset()), {"c": 3})).tolist() == [-1, 1.5, 0.25]


def test_a_client_that_is_gone_still_counts_in_the_rounds_it_was_in() -> None:
    # N = 2 with x
    assert participation_debt("a", History(rounds("x"))).tolist() == [0.5]


def test_everybody_joining_late_and_empty_rounds_are_no_trouble() -> None:
    assert participation_debt("a", History(rounds("", ""), {"a": 1})).tolist() == [0]
    assert np.array_equal(participation_debt("", History(rounds(""))), [])


def test_it_is_the_same_whether_each_client_is_looked_at_in_each_round_or_not() -> None:
    rng = np.random.default_rng(3)
    names = [f"c{number}" for number in range(40)]
    past = tuple(frozenset(rng.choice(names, size=rng.integers(0, 12), replace=False).tolist()) for _ in range(30))
    of_each = participation_debt(names[:35], History(past, {"another client that has joined later": 1}))
    assert participation_debt(names[:35], History(past)).tolist() == of_each.tolist()
