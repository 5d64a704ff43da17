"""The budget: a hard limit under which the minimum is still found."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsfeel.errors import BudgetTooSmall, NotEnoughClients
from tcsfeel.selection.costs import Budget, fill, in_order, lack_of_budget
from tcsfeel.selection.types import SelectionPolicy
from tests.tcsfeel.worlds import candidates, pool


def budget(costs: list[float], limit: float, minimum: int) -> Budget:
    return Budget(np.array(costs), limit, minimum)


def test_a_round_costs_one_model_down_and_one_up() -> None:
    # 2 MB at 8 Mbps take 2 s, at a stated 0.5 s/MB 1 s; 100 ms of latency each way; twice that for both ways
    chosen = candidates(2, latency=[100.0, 100.0], server_cost=[None, 0.5])
    policy = SelectionPolicy(min_clients=1, max_clients=2, model_bytes=2_000_000)

    assert pool(chosen, policy).costs.tolist() == pytest.approx([4.2, 2.2])


def test_expected_seconds_are_transfers_and_training() -> None:
    # 4 MB are 1e6 parameters: 6 * 1e6 * 100 samples * 2 epochs = 1.2e9 operations, at 3 GFLOPS 0.4 s; 8 s of transfers
    chosen = candidates(2, compute_capacity=[3.0, 6.0])
    policy = SelectionPolicy(min_clients=1, max_clients=2, model_bytes=4_000_000, local_epochs=2)

    assert pool(chosen, policy).seconds.tolist() == pytest.approx([8.4, 8.2])


def test_who_was_not_measured_is_expected_to_take_longer_than_it_claims_by_as_much_as_the_others() -> None:
    # as above, 0.4 s and 0.2 s by the claims; 10, 20 and 60 times as long by the clock, so 20 times as a rule
    chosen = candidates(4, compute_capacity=[3.0, 3.0, 6.0, 6.0], train_seconds=[4.0, 8.0, None, 12.0])
    policy = SelectionPolicy(min_clients=1, max_clients=2, model_bytes=4_000_000, local_epochs=2)
    assert pool(chosen, policy).seconds.tolist() == pytest.approx([12.0, 16.0, 12.0, 20.0])

    idle = candidates(2, compute_capacity=[3.0, 3.0], train_seconds=[None, 0.0])  # which says nothing of the other
    assert pool(idle, policy).seconds.tolist() == pytest.approx([8.4, 8.0])


def test_of_equal_costs_the_first_given_are_the_cheapest() -> None:
    assert budget([2.0, 1.0] * 20, 9, 3).cheapest() == [1, 3, 5]


def test_room_leaves_enough_for_the_cheapest_others() -> None:
    # three of 1, 2, 3, 4 within 7: with 4 the cheapest two, 1 and 2, fit exactly
    assert budget([1, 2, 3, 4], 7, 3).room([]).tolist() == [True, True, True, True]
    # after 4 there is 3 left: 3 alone would fit, but then no third
    assert budget([1, 2, 3, 4], 7, 3).room([3]).tolist() == [True, True, False, False]
    # within 6.5 a 4 leaves too little from the start
    assert budget([1, 2, 3, 4], 6.5, 3).room([]).tolist() == [True, True, True, False]


def test_room_beyond_the_minimum_is_what_is_left() -> None:
    assert budget([1, 2, 3, 4], 6, 1).room([1]).tolist() == [True, False, True, True]
    assert budget([1, 2, 3, 4], 6, 1).room([0, 1]).tolist() == [False, False, True, False]
    assert budget([1, 1], 1, 2).room([0]).tolist() == [False, False]


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=7), st.integers(0, 24), st.integers(1, 7), st.randoms(), st.data()
)
def test_room_is_for_whom_the_cheapest_completion_fits(
    costs: list[float], limit: float, minimum: int, rng: Random, data: st.DataObject
) -> None:
    everybody = range(len(costs))
    members = rng.sample(everybody, data.draw(st.integers(0, len(costs))))

    room = budget(costs, limit, minimum).room(members)

    for candidate in everybody:
        joined = {*members, candidate}
        cheapest = sorted(costs[other] for other in everybody if other not in joined)[: max(minimum - len(joined), 0)]
        fits = sum(costs[one] for one in joined) + sum(cheapest) <= limit
        assert room[candidate] == (candidate not in members and fits)


def test_nothing_is_left_of_a_budget_that_rounding_has_overdrawn() -> None:
    assert lack_of_budget(0.5).format(1.25) == "it would add 1.25 s to a budget of which 0.5 s is left"
    assert "which 0 s is left" in lack_of_budget(-1e-17)


def test_filling_in_order_passes_over_what_does_not_fit() -> None:
    assert fill([3, 2, 1, 0], [], budget([1, 2, 3, 4], 7, 3), 4) == [3, 1, 0]
    assert fill([2, 1, 0], [3], budget([1, 2, 3, 4], math.inf, 1), 3) == [3, 2, 1]


def test_the_printed_cost_of_a_set_is_a_budget_that_admits_it() -> None:
    costs = [0.1] * 10  # added one by one they come to 0.9999999999999999
    tight = budget(costs, math.fsum(costs), 10)

    assert tight.allows(range(10))
    assert sorted(fill(range(10), [], tight, 10)) == list(range(10))


def test_a_set_that_rounding_let_in_is_replaced_by_the_cheapest() -> None:
    tight = budget([1.0, 1.0, 1.0 + 4e-16], 2.0, 2)

    assert tight.room([0]).tolist() == [False, True, True]
    assert tight.settle([0, 2]) == [0, 1]


def test_too_few_candidates() -> None:
    with pytest.raises(NotEnoughClients, match="2 of 9 clients") as refused:
        Budget.of(pool(candidates(2), SelectionPolicy(min_clients=3, known_clients=9)))
    assert (refused.value.available, refused.value.required, refused.value.known) == (2, 3, 9)

    with pytest.raises(NotEnoughClients, match="0 of 0 clients"):
        Budget.of(pool([], SelectionPolicy(min_clients=1)))


def test_a_budget_below_the_cheapest_set() -> None:
    # costs of 2, 4 and 6 s; the cheapest two come to 6
    chosen = candidates(3, server_cost=[1.0, 2.0, 3.0])
    policy = SelectionPolicy(min_clients=2, max_clients=3, budget_constraint=5.9)

    with pytest.raises(BudgetTooSmall, match=r"5\.9 s of link time, but the cheapest 2 client\(s\) cost 6 s"):
        Budget.of(pool(chosen, policy))


def test_only_the_first_ones_are_put_in_order_if_all_fit() -> None:
    keys, costs = np.array([0.4, 0.1, 0.3, 0.2]), np.ones(4)
    assert in_order(keys, Budget(costs, math.inf, 1), 2) == [1, 3]
    assert in_order(keys, Budget(costs, math.inf, 1), 4) == [1, 3, 2, 0]
    assert in_order(keys, Budget(costs, 2.0, 1), 2) == [1, 3, 2, 0]
