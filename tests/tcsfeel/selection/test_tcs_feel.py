"""What the default strategy chooses, and how it explains itself."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.debt import participation_debt
from tcsfeel.selection.tcs_feel import tcs_feel
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy, Weights
from tests.tcsfeel.worlds import candidates, objective, skewed

BALANCE_ONLY = Weights(data_quality=1, communication=0, compute=0, fairness=0)
COST_ONLY = Weights(data_quality=0, communication=1, compute=0, fairness=0)
TIME_ONLY = Weights(data_quality=0, communication=0, compute=1, fairness=0)
DEBT_ONLY = Weights(data_quality=0, communication=0, compute=0, fairness=1)


def plan(
    clients: Sequence[Candidate], policy: SelectionPolicy, history: History | None = None, seed: int = 0
) -> Selection:
    return tcs_feel(clients, Connectivity.empty(), history or History(), policy, np.random.default_rng(seed))


def pairs(weights: Weights, budget: float | None = None) -> SelectionPolicy:
    return SelectionPolicy(min_clients=2, max_clients=2, weights=weights, budget_constraint=budget)


def test_it_chooses_clients_that_complete_each_other() -> None:
    clients = candidates(4, data_distribution=[[1, 0], [1, 0], [0, 1], [0, 1]])

    for seed in range(5):
        chosen = plan(clients, pairs(BALANCE_ONLY), seed=seed)
        assert len(set(chosen.client_ids) & {"a", "b"}) == 1
        assert chosen.label_divergence == pytest.approx(0)


def test_it_says_whose_labels_are_covered() -> None:
    # samples of 100, 100, 300: b in the place of a changes nothing, c in the place of a or b unbalances the pair
    clients = candidates(4, data_distribution=[[1, 0], [0, 1], [1, 0], [0, 1]], data_size=[100, 100, 300, 300])
    unequal = replace(clients[3], data_size=350)

    chosen = plan([*clients[:3], unequal], pairs(BALANCE_ONLY))

    assert set(chosen.client_ids) == {"a", "b"} or set(chosen.client_ids) == {"c", "d"}
    assert all("its labels are already covered: in place of" in skipped.reason for skipped in chosen.skipped)


def test_it_says_how_skewed_the_set_would_be_in_the_best_place() -> None:
    # shares of the first label: 1, 0 and 3/4, of all 7/12; they differ by 5/12, -7/12 and 2/12. Pairs: a and b -2/12,
    # a and c 7/12, b and c -5/12, with a mean square of (4 + 49 + 25) / 3 / 144. In the place of a: 25/26, not 4/26
    chosen = plan(candidates(3, data_distribution=[[1, 0], [0, 1], [3, 1]]), pairs(BALANCE_ONLY))

    assert set(chosen.client_ids) == {"a", "b"}
    assert chosen.skipped[0].reason.endswith(
        "in place of a the set's label skew would be 0.962 instead of 0.154 (1: a random set)"
    )


@pytest.mark.parametrize(("compute", "reason"), [(1.0, "it is slow"), (0.5, "its link is expensive")])
def test_the_reason_is_the_term_that_gets_worst_by_its_weight(compute: float, reason: str) -> None:
    # rounds of 2 and 4 s, all of it transfers: b in the place of a is worse by 2/3 in both terms, 1/2 and 3/4 of which
    # count times their weights
    policy = SelectionPolicy(min_clients=1, max_clients=1, weights=Weights(0, 1, compute, 0))

    chosen = plan(candidates(2, server_cost=[1.0, 2.0]), policy)

    assert chosen.client_ids == ("a",)
    assert chosen.skipped[0].reason.startswith(reason)


def test_the_places_that_the_budget_forbids_are_no_reason() -> None:
    # rounds of 2, 8 and 6 s within 12 s: c could not take the place of a
    clients = candidates(3, server_cost=[1.0, 4.0, 3.0], train_seconds=[1.0, 1.0, 20.0])

    chosen = plan(clients, pairs(TIME_ONLY, budget=12))

    assert set(chosen.client_ids) == {"a", "b"}
    assert chosen.skipped[0].reason == "it is slow: in place of b the round would take 26 s instead of 9 s"


def test_it_says_whose_link_is_dear() -> None:
    chosen = plan(candidates(3, server_cost=[1.0, 2.0, 5.0]), pairs(COST_ONLY))

    assert chosen.client_ids == ("a", "b")
    assert chosen.skipped[0].reason == "its link is expensive: 10 s of link time a round, against 4 s for b"
    assert chosen.total_cost == 6


def test_it_says_who_is_slow() -> None:
    chosen = plan(candidates(3, train_seconds=[50.0, 30.0, 40.0]), pairs(TIME_ONLY))

    assert set(chosen.client_ids) == {"b", "c"}
    # 2 s of transfers each
    assert chosen.skipped[0].reason.startswith("it is slow: in place of ")
    assert chosen.skipped[0].reason.endswith(" the round would take 52 s instead of 42 s")


def test_it_says_who_is_less_overdue() -> None:
    # K/N = 1/3: a at -2/3 and then at -1/3, b at 1/3 and then -1/3, c at 2/3
    history = History((frozenset("a"), frozenset("b"), frozenset("a")))

    chosen = plan(candidates(3), pairs(DEBT_ONLY), history)

    # after the third round: a at -1, b at 0, c at 1
    assert chosen.client_ids == ("c", "b")
    assert chosen.skipped[0].reason == "it is less overdue: its participation debt is -1.00, that of b 0.00"


def test_it_says_that_equals_are_enough() -> None:
    chosen = plan(candidates(3), pairs(Weights()))

    assert "but 2 clients are enough" in chosen.skipped[0].reason


def test_it_says_what_the_budget_lacks() -> None:
    # rounds of 2, 4 and 20 s: 6 of 10 s are spent, 20 s is more than all of it, 7 s more than what any swap frees
    chosen = plan(candidates(4, server_cost=[1.0, 2.0, 10.0, 4.5]), pairs(DEBT_ONLY, budget=10))

    assert chosen.total_cost == 6
    assert [skipped.reason for skipped in chosen.skipped] == [
        "it would add 20 s to a budget of which 4 s is left",
        "it would add 9 s to a budget of which 4 s is left",
    ]


def test_it_grows_until_the_labels_are_balanced() -> None:
    # one label each of four, twice: no fewer than four are balanced
    clients = candidates(8, data_distribution=[np.eye(4)[row % 4].tolist() for row in range(8)])
    policy = SelectionPolicy(min_clients=1, max_clients=8, weights=BALANCE_ONLY)

    chosen = plan(clients, policy)

    assert len(chosen.selected) == 4
    assert chosen.label_divergence == pytest.approx(0)


def test_a_set_that_is_as_balanced_as_the_target_does_not_grow() -> None:
    clients = candidates(4, data_distribution=[[1, 0], [0, 1], [1, 0], [0, 1]])
    policy = SelectionPolicy(min_clients=2, max_clients=4, weights=BALANCE_ONLY, parameters={"divergence_target": 0.0})

    assert len(plan(clients, policy).selected) == 2  # divergence 0


def test_it_grows_no_further_than_the_budget() -> None:
    clients = candidates(4, data_distribution=[[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], data_size=[9, 9, 9, 1])
    policy = SelectionPolicy(min_clients=1, max_clients=4, weights=COST_ONLY, budget_constraint=5)

    chosen = plan([*clients[:3], replace(clients[3], server_cost=9.0)], policy)

    assert len(chosen.selected) == 2  # 2 s each
    assert chosen.skipped[0].reason == "it would add 2 s to a budget of which 1 s is left"
    assert chosen.skipped[1].reason == "it would add 18 s to a budget of which 1 s is left"


def test_it_grows_no_further_than_the_maximum() -> None:
    clients = candidates(4, data_distribution=[np.eye(4)[row].tolist() for row in range(4)])

    chosen = plan(clients, SelectionPolicy(min_clients=1, max_clients=3))

    assert len(chosen.selected) == 3
    assert chosen.label_divergence == pytest.approx(math.log(4 / 3))  # a third each instead of a quarter


def test_without_labels_it_stays_at_the_minimum() -> None:
    chosen = plan(candidates(4), SelectionPolicy(min_clients=2, max_clients=4))

    assert len(chosen.selected) == 2
    assert chosen.label_divergence is None


def test_a_large_network_grows_by_search() -> None:
    clients = skewed(60, seed=5)
    policy = SelectionPolicy(min_clients=4, max_clients=30, parameters={"divergence_target": 0.001})

    chosen = plan(clients, policy)

    assert 4 < len(chosen.selected) <= 30


def test_scores_add_up_to_the_objective() -> None:
    clients = skewed(30, seed=6)
    policy = SelectionPolicy(min_clients=8, max_clients=8)
    history = History((frozenset(["c1", "c2"]),))

    chosen = plan(clients, policy, history)

    f = objective(clients, policy, participation_debt([client.client_id for client in clients], history).tolist())
    members = [int(name[1:]) for name in chosen.client_ids]
    assert sum(one.score for one in chosen.selected) == pytest.approx(-float(f.value(f.sums(members))))
    terms = f.terms(f.sums(members))
    for name in ("balance", "communication", "time", "debt"):
        assert sum(one.components[name] for one in chosen.selected) == pytest.approx(float(getattr(terms, name)))


def test_over_many_rounds_everybody_takes_part() -> None:
    clients = skewed(30, seed=7)
    rounds: tuple[frozenset[str], ...] = ()
    for number in range(40):
        chosen = plan(clients, SelectionPolicy(min_clients=6, max_clients=6), History(rounds), seed=number)
        rounds = (*rounds, frozenset(chosen.client_ids))

    assert chosen.fairness > 0.8
    assert len(frozenset().union(*rounds)) == 30
