"""The terms of F by hand, and their normalisers by counting all sets."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from tcsfeel.selection.objective import Terms, _expected_square
from tcsfeel.selection.types import SelectionPolicy, Weights
from tests.tcsfeel.worlds import candidates, objective, skewed


def test_balance_of_reliable_clients() -> None:
    # Shares (1,0), (1,0), (0,1), (0,1) of 100 samples each: p* = (1/2, 1/2), h - n p* = 1 * (+-1/2, -+1/2) in units of
    # the largest client. Pair of equals: |(1, -1)|^2 / 2^2 = 1/2; pair of opposites: 0.
    # Random pairs: 2 of 6 are equals, so E|.|^2 = 2/6 * 2 = 2/3, over E(sum n)^2 = 4: 1/6.
    f = objective(candidates(4, data_distribution=[[1, 0], [1, 0], [0, 1], [0, 1]]))

    assert f.terms(f.sums([[0, 1], [0, 2]])).balance.tolist() == pytest.approx([(1 / 2) / (1 / 6), 0])


def test_balance_counts_failures_in() -> None:
    # Two opposites with r = 1/2: the expected skew vanishes, the variance is 2 * 1/4 * |(1/2, -1/2)|^2 = 1/4, over
    # (1/2 + 1/2)^2. It is measured by sets of N - 1 = 1: E|r (h - n p*)|^2 = 1/8 over E(r n)^2 = 1/4, that is 1/2.
    f = objective(candidates(2, data_distribution=[[1, 0], [0, 1]], reliability=[0.5, 0.5]))

    assert float(f.terms(f.sums([0, 1])).balance) == pytest.approx((1 / 4) / (1 / 2))


def test_communication_is_relative_to_the_mean() -> None:
    # costs of 2, 4 and 12 s, mean 6: the first two cost 6 of 2 * 6
    f = objective(candidates(3, server_cost=[1.0, 2.0, 6.0]))

    assert float(f.terms(f.sums([0, 1])).communication) == pytest.approx(1 / 2)


def test_time_is_relative_to_the_slowest_of_random_sets() -> None:
    # free links, so 1, 2 and 4 s; pairs take 2, 4, 4: 10/3 on average
    f = objective(candidates(3, server_cost=[0.0] * 3, train_seconds=[4.0, 1.0, 2.0]))

    assert float(f.terms(f.sums([1, 2])).time) == pytest.approx(2 / (10 / 3))
    assert float(f.terms(f.sums([0, 1, 2])).time) == pytest.approx(1)


def test_debt_is_a_mean_and_counts_against_the_rest() -> None:
    # identical clients: balance 0, communication and time 1
    policy = SelectionPolicy(
        min_clients=1, max_clients=3, weights=Weights(data_quality=9, communication=2, compute=3, fairness=4)
    )
    f = objective(candidates(3), policy, debt=[1, 0.5, -1])

    assert float(f.value(f.sums([0, 1]))) == pytest.approx(2 / 2 + 3 * 3 / 4 - 4 * 0.75)


@pytest.mark.parametrize("members", [[4], [0, 3], [1, 2, 5], [5, 4, 2, 1], [0, 1, 2, 3, 4]])
def test_it_is_the_formula(members: list[int]) -> None:
    """The sums of the module's docstring, one client after the other; expectations by going through all sets."""
    clients, debt = skewed(6, seed=5), np.array([0.5, -0.25, 0, 1, -1, 0.125])
    weights = Weights(data_quality=2, communication=3, compute=5, fairness=7)
    f = objective(clients, SelectionPolicy(min_clients=1, max_clients=6, weights=weights), debt)
    largest = max(client.data_size for client in clients)
    n = [client.data_size / largest for client in clients]
    h = [size * np.array(client.data_distribution) for size, client in zip(n, clients, strict=True)]
    overall = np.sum(h, axis=0) / sum(n)
    r = [client.reliability for client in clients]
    c, t = f.pool.costs, f.pool.seconds

    def skew(chosen: Sequence[int]) -> float:
        return float((np.sum([r[i] * (h[i] - n[i] * overall) for i in chosen], axis=0) ** 2).sum())

    def arriving(chosen: Sequence[int]) -> float:
        return float(sum(r[i] * n[i] for i in chosen))

    variance = sum(r[i] * (1 - r[i]) * float(((h[i] - n[i] * overall) ** 2).sum()) for i in members)
    sets = list(combinations(range(6), len(members)))
    random_skew = np.mean([skew(one) for one in sets]) / np.mean([arriving(one) ** 2 for one in sets])
    balance = (skew(members) + variance) / arriving(members) ** 2 / random_skew
    communication = sum(c[members]) / (len(members) * np.mean(c))
    time = max(t[members]) / np.mean([max(t[list(one)]) for one in sets])

    value = 2 * balance + 3 * 0.5 * communication + 5 * 0.75 * time - 7 * np.mean(debt[members])
    assert float(f.value(f.sums(members))) == pytest.approx(value)


def test_without_costs_and_labels_there_is_nothing_to_compare() -> None:
    f = objective(candidates(3, server_cost=[0.0] * 3, train_seconds=[0.0] * 3))

    assert f.terms(f.sums([[0, 1], [1, 2]])).balance.tolist() == [0, 0]
    assert f.value(f.sums([0, 1])) == 0


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_random_sets_are_counted_right(size: int) -> None:
    clients = skewed(6, seed=3)
    f = objective(clients)
    sets = list(combinations(range(6), size))
    every = f.sums(sets)

    mean_skew = (every.skew**2).sum(axis=1).mean() / (every.samples**2).mean()
    assert f._random_skew[size] == pytest.approx(mean_skew)
    assert f._random_slowest[size] == pytest.approx(every.slowest.mean())
    assert f.terms(every).communication.mean() == pytest.approx(1)
    assert f.terms(every).time.mean() == pytest.approx(1)


def test_the_expected_square_of_a_random_sum_by_hand() -> None:
    # of 1, 2 and 3: singles (1 + 4 + 9) / 3, pairs (3^2 + 4^2 + 5^2) / 3, all 6^2; of 1 and 2 all 3^2
    assert _expected_square(np.array([[1.0], [2.0], [3.0]]), np.array([1, 2, 3])) == pytest.approx([14 / 3, 50 / 3, 36])
    assert _expected_square(np.array([[1.0], [2.0]]), np.array([1, 2])) == pytest.approx([5 / 2, 9])
    # of (3, 0) and (0, 4): singles (9 + 16) / 2, both 5^2
    assert _expected_square(np.diag([3.0, 4.0]), np.array([1, 2])) == pytest.approx([25 / 2, 25])
    assert _expected_square(np.array([[2.0]]), np.array([1])) == pytest.approx([4])


def test_a_set_can_be_put_together() -> None:
    f = objective(skewed(8, seed=1), debt=range(8))

    step = f.value(f.with_each([2, 5]))

    others = [member for member in range(8) if member not in {2, 5}]
    assert step[others] == pytest.approx(f.value(f.sums([[2, 5, member] for member in others])))
    alone = f.value(f.with_each([]))
    assert alone == pytest.approx(f.value(f.sums([[member] for member in range(8)])))
    assert alone == pytest.approx(f.value(f.singles))


def test_shares_add_up_to_the_terms() -> None:
    f = objective(skewed(8, seed=2), debt=range(8))
    members = [6, 1, 3]

    shares, terms = f.shares(members), f.terms(f.sums(members))

    for name in Terms.__slots__:
        assert getattr(shares, name).sum() == pytest.approx(float(getattr(terms, name))), name


def test_only_slower_members_pay_for_the_step_up() -> None:
    # 1, 2 and 4 s: all three share the first second, two the next, one the last two: 1/3, 1/3 + 1/2, 1/3 + 1/2 + 2
    f = objective(candidates(3, server_cost=[0.0] * 3, train_seconds=[4.0, 1.0, 2.0]))

    assert f.shares([0, 1, 2]).time * 4 == pytest.approx(np.array([17 / 6, 1 / 3, 5 / 6]))
