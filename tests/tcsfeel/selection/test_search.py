"""How sets are found: draws, starts and swaps, and how good what they find is."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsfeel.selection.costs import Budget
from tcsfeel.selection.objective import Objective
from tcsfeel.selection.search import (
    AT_ONCE,
    _few,
    best_set,
    extended,
    greedy,
    grown,
    improved,
    overdue,
    weighted_order,
)
from tcsfeel.selection.tcs_feel import tcs_feel
from tcsfeel.selection.types import History, SelectionPolicy, Weights
from tests.tcsfeel.worlds import NO_LINKS, PLAIN, candidates, objective, skewed

COST_ONLY = Weights(data_quality=0, communication=1, compute=0, fairness=0)
TIME_ONLY = Weights(data_quality=0, communication=0, compute=1, fairness=0)


def searched(f: Objective) -> tuple[Budget, int]:
    return Budget.of(f.pool), f.pool.policy.min_clients


def by_cost(*costs: float, least: int = 2, most: int = 3, limit: float | None = None) -> Objective:
    """F that is in proportion to the sum of `costs`, each of them s for both ways."""
    policy = SelectionPolicy(min_clients=least, max_clients=most, weights=COST_ONLY, budget_constraint=limit)
    return objective(candidates(len(costs), server_cost=[cost / 2 for cost in costs]), policy)


def best_of(f: Objective, size: int) -> float:
    """The lowest F of all sets of a size that cost no more than the budget."""
    budget = Budget.of(f.pool)
    sets = [members for members in combinations(range(len(f.pool.candidates)), size) if budget.allows(members)]
    return float(f.value(f.sums(sets)).min())


def value(f: Objective, members: Sequence[int]) -> float:
    return float(f.value(f.sums(members)))


def test_each_next_one_is_drawn_in_proportion_to_its_weight() -> None:
    rng = np.random.default_rng(0)
    orders = Counter(tuple(weighted_order(np.array([3.0, 2.0, 1.0]), rng)) for _ in range(3000))

    # 4 standard deviations of a binomial (3000, 1/3) are 104
    expected = {
        (0, 1, 2): 3 / 6 * 2 / 3,
        (0, 2, 1): 3 / 6 * 1 / 3,
        (1, 0, 2): 2 / 6 * 3 / 4,
        (1, 2, 0): 2 / 6 * 1 / 4,
        (2, 0, 1): 1 / 6 * 3 / 5,
        (2, 1, 0): 1 / 6 * 2 / 5,
    }
    assert orders.keys() == expected.keys()
    assert all(abs(orders[order] - 3000 * share) < 104 for order, share in expected.items())


def test_who_has_no_weight_comes_last_in_any_order() -> None:
    orders = {tuple(weighted_order(np.array([0.0, 1e-9, 0.0, 1.0]), np.random.default_rng(s))) for s in range(40)}

    assert {frozenset(order[:2]) for order in orders} == {frozenset({1, 3})}
    assert {order[2:] for order in orders} == {(0, 2), (2, 0)}


def test_a_random_start_holds_those_who_are_owed_a_turn() -> None:
    # above the least overdue, and 0.1 for everybody: 1, 0.1 and 0.1
    f = objective(candidates(3), SelectionPolicy(min_clients=1, max_clients=2), debt=[0.4, -0.5, -0.5])
    rng = np.random.default_rng(0)

    counts = Counter(overdue(f, Budget.of(f.pool), 1, rng)[0] for _ in range(2000))

    # 4 standard deviations of a binomial (2000, 10/12) are 67
    assert counts[0] == pytest.approx(2000 * 10 / 12, abs=67)
    assert counts[1] == pytest.approx(2000 / 12, abs=67)
    assert len(overdue(f, Budget.of(f.pool), 2, rng)) == 2


def test_greedy_takes_the_best_beside_those_before_it() -> None:
    f = by_cost(6.0, 2.0, 4.0, 8.0)

    assert greedy(f, Budget.of(f.pool), 3, np.random.default_rng(0)) == [1, 2, 0]


def test_greedy_leaves_what_the_minimum_needs() -> None:
    # of 10 s c, who is fast, leaves 2 s, too little for another; d, who is too, leaves 3 s, for a alone
    policy = SelectionPolicy(min_clients=2, max_clients=2, weights=TIME_ONLY, budget_constraint=10)
    clients = candidates(4, server_cost=[1.5, 2.0, 4.0, 3.5], train_seconds=[90.0, 80.0, 1.0, 2.0])
    f = objective(clients, policy)

    assert greedy(f, Budget.of(f.pool), 2, np.random.default_rng(0)) == [3, 0]


def test_equals_are_taken_at_random() -> None:
    f = by_cost(2.0, 2.0, 2.0, 4.0)
    firsts = {tuple(extended(f, Budget.of(f.pool), [3], np.random.default_rng(seed)) or ()) for seed in range(40)}

    assert firsts == {(3, 0), (3, 1), (3, 2)}


def test_a_hair_decides_before_chance_does() -> None:
    f = by_cost(2.0, 2.0 + 4e-8, 4.0)  # F differs by 0.5 * 4e-8 / (8 / 3) = 7.5e-9
    firsts = {tuple(extended(f, Budget.of(f.pool), [], np.random.default_rng(seed)) or ()) for seed in range(200)}

    assert firsts == {(0,)}


def test_a_set_that_the_budget_leaves_no_room_is_not_extended() -> None:
    f = by_cost(2.0, 2.0, 3.0, least=1, limit=6.0)
    budget, rng = Budget.of(f.pool), np.random.default_rng(0)

    assert extended(f, budget, [0], rng) == [0, 1]
    assert extended(f, budget, [0, 1], rng) is None
    assert grown(f, budget, [0, 1], rng) is None


def test_swaps_replace_the_dear_and_keep_the_places_of_the_others() -> None:
    f = by_cost(2.0, 9.0, 8.0, 1.0, 3.0)

    assert improved(f, Budget.of(f.pool), [1, 0]) == [3, 0]
    assert improved(f, Budget.of(f.pool), [0, 1, 2]) == [3, 0, 4]


def test_a_swap_is_not_made_for_nothing() -> None:
    f = by_cost(2.0, 2.0, 2.0)

    assert improved(f, Budget.of(f.pool), [2, 0]) == [2, 0]


def test_swaps_keep_within_the_budget() -> None:
    # faster ones cost more: with 10 s c (7 s) can join a only, d (6 s) either
    policy = SelectionPolicy(min_clients=2, max_clients=2, weights=TIME_ONLY, budget_constraint=10)
    clients = candidates(4, server_cost=[1.5, 2.0, 3.5, 3.0], train_seconds=[50.0, 60.0, 20.0, 30.0])
    f = objective(clients, policy)

    # b makes way for c; a could not for d, who does not fit beside c
    assert improved(f, Budget.of(f.pool), [0, 1]) == [0, 2]


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_after_the_swaps_no_other_one_helps(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    f = objective(skewed(12, seed), SelectionPolicy(min_clients=size, max_clients=size), debt=rng.uniform(-1, 1, 12))
    start = rng.choice(12, size, replace=False).tolist()

    found = improved(f, Budget.of(f.pool), start)

    assert len(set(found)) == size
    assert value(f, found) <= value(f, start)
    again = improved(f, Budget.of(f.pool), found)
    if again == found:  # four passes were enough
        others = set(range(12)).difference(found)
        swaps = [[*found[:place], other, *found[place + 1 :]] for place in range(size) for other in others]
        assert f.value(f.sums(swaps)).min() >= value(f, found) - 1e-8


def test_passes_go_on_while_they_help() -> None:
    for seed in range(20):  # one pass is enough for 9 of them, two for 18
        f = objective(skewed(30, seed), SelectionPolicy(min_clients=4, max_clients=4))
        found = improved(f, Budget.of(f.pool), range(4))
        others = set(range(30)).difference(found)
        swaps = [[*found[:place], other, *found[place + 1 :]] for place in range(4) for other in others]
        assert f.value(f.sums(swaps)).min() >= value(f, found) - 1e-8


@pytest.mark.parametrize(("count", "size", "few"), [(141, 2, True), (142, 2, False), (20_000, 1, True), (60, 3, False)])
def test_all_sets_are_tried_where_they_have_20_000_members_together(count: int, size: int, few: bool) -> None:
    # 9870 and 10 011 pairs, 34 220 triples
    assert _few(objective([PLAIN] * count), size) == few


@given(st.integers(0, 10**6), st.integers(1, 4), st.none() | st.floats(1, 2))
def test_few_sets_are_all_tried(seed: int, size: int, tightness: float | None) -> None:
    clients, rng = skewed(9, seed), np.random.default_rng(seed)
    costs = np.sort(objective(clients).pool.costs)
    limit = None if tightness is None else float(costs[: size + 1].sum() * tightness)
    policy = SelectionPolicy(min_clients=size, max_clients=size + 1, budget_constraint=limit)
    f = objective(clients, policy, debt=rng.uniform(-1, 1, 9))
    budget = Budget.of(f.pool)

    found = best_set(f, budget, size, rng)
    larger = grown(f, budget, found, rng)

    assert budget.allows(found)
    assert value(f, found) == pytest.approx(best_of(f, size))
    if larger is not None:
        assert budget.allows(larger)
        assert value(f, larger) == pytest.approx(best_of(f, size + 1))


@pytest.mark.parametrize("seed", range(6))
def test_the_search_beats_a_thousand_random_sets(seed: int) -> None:
    # 60 choose 10 is far too many to try, so this is local search
    rng = np.random.default_rng(seed)
    f = objective(skewed(60, seed), SelectionPolicy(min_clients=10, max_clients=10), debt=rng.uniform(-1, 1, 60))
    budget, size = searched(f)

    found = best_set(f, budget, size, rng)

    random_sets = np.array([rng.choice(60, size, replace=False) for _ in range(1000)])
    assert value(f, found) < f.value(f.sums(random_sets)).min()


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_a_greedy_and_two_random_starts_wins(seed: int) -> None:
    f = objective(skewed(60, seed), SelectionPolicy(min_clients=10, max_clients=10))
    budget, rng = Budget.of(f.pool), np.random.default_rng(seed)
    starts = [greedy(f, budget, 10, rng), overdue(f, budget, 10, rng), overdue(f, budget, 10, rng)]
    ends = [value(f, improved(f, budget, start)) for start in starts]

    assert len(set(ends)) > 1
    assert value(f, best_set(f, budget, 10, np.random.default_rng(seed))) == min(ends)


def test_a_larger_set_is_good_as_well_where_not_all_can_be_tried() -> None:
    rng = np.random.default_rng(1)
    f = objective(skewed(60, 1), SelectionPolicy(min_clients=9, max_clients=10))
    nine = best_set(f, Budget.of(f.pool), 9, rng)

    ten = grown(f, Budget.of(f.pool), nine, rng)

    assert ten is not None
    assert len(set(ten)) == 10
    alone = f.value(f.sums([[*nine, other] for other in set(range(60)).difference(nine)]))
    assert value(f, ten) <= alone.min(), "swaps after the tenth has joined do no harm"


def test_a_greedy_dead_end_falls_back_to_the_cheapest_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsfeel.selection.search.FEW", 0)
    # 2 s each and 4 s to spend; the third costs a hair more, less than sums are trusted to show
    clients = candidates(3, server_cost=[1.0, 1.0, 1.0 + 4e-16], train_seconds=[9.0, 1.0, 0.5])
    policy = SelectionPolicy(min_clients=2, max_clients=3, budget_constraint=4.0, weights=TIME_ONLY)
    f = objective(clients, policy)
    budget, size = searched(f)

    assert budget.room([2]).tolist() == [True, True, False]
    assert extended(f, budget, [2], np.random.default_rng(0)) is None
    assert sorted(greedy(f, budget, size, np.random.default_rng(0))) == [0, 1]
    assert sorted(best_set(f, budget, size, np.random.default_rng(0))) == [0, 1]
    assert improved(f, budget, [0, 1]) == [0, 1]
    assert tcs_feel(clients, NO_LINKS, History(), policy, np.random.default_rng(0)).total_cost == 4.0


def test_sets_are_summed_in_parts_where_there_are_many_labels() -> None:
    rng = np.random.default_rng(5)
    clients = candidates(10, data_distribution=[rng.dirichlet(np.full(6000, 0.01)).tolist() for _ in range(10)])
    goal = objective(clients, SelectionPolicy(min_clients=4, max_clients=4))
    sets = list(combinations(range(10), 4))
    assert len(sets) * 4 * 6000 > AT_ONCE
    expected = min(sets, key=lambda members: float(goal.value(goal.sums(members))))
    assert sorted(best_set(goal, Budget.of(goal.pool), 4, rng)) == list(expected)
