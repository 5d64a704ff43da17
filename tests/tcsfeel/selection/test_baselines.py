"""The random and the documented strategy, and the components that every strategy shows."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.selection.components import relay_centrality, shown_components
from tcsfeel.selection.documented import documented
from tcsfeel.selection.random import random
from tcsfeel.selection.types import History, Plan, SelectionPolicy
from tests.tcsfeel.worlds import candidates, pool, skewed

PATH = Connectivity.from_edges("abc", [Edge("a", "b", 1), Edge("b", "c", 1)])
THREE = candidates(
    3,
    data_distribution=[[1, 0], [0, 1], None],
    bandwidth=[10.0, 20.0, 40.0],
    latency=[0.5, 2.0, 10.0],
    compute_capacity=[1.0, 4.0, 2.0],
    data_size=[100, 100, 50],
    reliability=[1.0, 0.5, 0.5],
    update_quality=[0.8, None, 0.4],
)


def test_components_are_relative_to_the_best() -> None:
    shown = shown_components(pool(THREE, links=PATH, history=History((frozenset("a"),))))

    expected = {
        "data_quality": [0.5, 0.5, 1],  # exp(-ln 2); c does not report
        "betweenness": [0, 1, 0],
        "bandwidth": [0.25, 0.5, 1],
        "latency": [1, 0.5, 0.1],  # 1 ms at least
        "compute": [0.25, 1, 1],  # 1/100, 4/100, 2/50
        "fairness": [1 / 4, 1, 1],  # debts of -2/3, 1/3, 1/3 are 1/3, 4/3, 4/3 above -1
    }
    assert shown.keys() == expected.keys()
    for name, values in expected.items():
        assert shown[name].tolist() == pytest.approx(values), name


def test_centrality_follows_the_connectivity_and_the_candidates() -> None:
    assert relay_centrality(PATH, ("a", "b", "c")).tolist() == [0, 1, 0]
    assert relay_centrality(PATH, ("a", "c", "b")).tolist() == [0, 0, 1]
    assert relay_centrality(PATH, ("a", "c")).tolist() == [0, 0]
    # of 4 clients in a row the inner two are between 2 pairs each; of 5 the middle one between 4, its neighbours 3
    row = Connectivity.from_edges("abcde", [Edge(one, other, 1) for one, other in ("ab", "bc", "cd", "de")])
    assert relay_centrality(row, tuple("abcd")).tolist() == [0, 1, 1, 0]
    assert relay_centrality(row, tuple("abcde")).tolist() == [0, 0.75, 1, 0.75, 0]
    longer = PATH.with_edges([Edge("a", "c", 1)])
    assert relay_centrality(longer, ("a", "b", "c")).tolist() == [0, 0, 0]


def test_the_last_centralities_of_a_connectivity_are_kept() -> None:
    links = Connectivity.from_edges("abc", [Edge("a", "b", 1)])
    first = relay_centrality(links, ("a", "b"))

    assert relay_centrality(links, ("a", "b")) is first
    assert len(relay_centrality(links, ("a", "b", "c"))) == 3


def test_the_documented_score_by_hand() -> None:
    chosen = documented(THREE, PATH, History(), SelectionPolicy(min_clients=3, max_clients=3), np.random.default_rng(0))

    scores = {one.client_id: one.score for one in chosen.selected}
    assert scores == pytest.approx(
        {
            "a": 0.35 * 0.5 + 0.30 * (0 + 0.25 + 1) / 3 + 0.15 * 0.25 + 0.10 * 1.0 * 0.8,
            "b": 0.35 * 0.5 + 0.30 * (1 + 0.5 + 0.5) / 3 + 0.15 * 1 + 0.10 * 0.5 * 0,
            "c": 0.35 * 1 + 0.30 * (0 + 1 + 0.1) / 3 + 0.15 * 1 + 0.10 * 0.5 * 0.4,
        }
    )
    assert [one.score for one in chosen.selected] == sorted(scores.values(), reverse=True)


def test_the_highest_documented_scores_are_chosen() -> None:
    policy = SelectionPolicy(min_clients=1, max_clients=2)  # 0.64 of c, 0.55 of b, 0.41 of a; nobody is drawn

    assert documented(THREE, PATH, History(), policy, np.random.default_rng(0)).client_ids == ("c", "b")


def test_a_fifth_of_the_documented_slots_is_drawn() -> None:
    clients = skewed(40, seed=4)
    policy = SelectionPolicy(min_clients=10, max_clients=10)
    runs = [documented(clients, Connectivity.empty(), History(), policy, np.random.default_rng(s)) for s in range(30)]

    always = frozenset.intersection(*(frozenset(run.client_ids) for run in runs))
    ever = frozenset().union(*(run.client_ids for run in runs))

    assert len(always) == 8
    assert len(ever) > 20
    ranked = sorted(one.score for one in runs[0].selected if one.client_id in always)
    assert f"the lowest that was high enough is {ranked[0]:.3f}" in runs[0].skipped[0].reason
    assert "2 slots" in runs[0].skipped[0].reason


def test_of_equal_documented_scores_the_first_given_is_ranked_first() -> None:
    clients = [replace(THREE[0], client_id=f"c{row}", compute_capacity=row % 7 + 1.0) for row in range(24)]
    policy = SelectionPolicy(min_clients=1, max_clients=4)  # a fifth of 4, rounded down, is nobody

    chosen = documented(clients, Connectivity.empty(), History(), policy, np.random.default_rng(0))

    assert chosen.client_ids == ("c6", "c13", "c20", "c5"), "three of 7 GFLOPS, and of those with 6 the first"


@pytest.mark.parametrize("strategy", [random, documented])
def test_baselines_take_as_many_as_the_budget_allows(strategy: type) -> None:
    # 2, 4, 6, 8, 10 s a round; any two of the cheapest must fit, then as many as do
    clients = candidates(5, server_cost=[1.0, 2.0, 3.0, 4.0, 5.0])
    policy = SelectionPolicy(min_clients=2, max_clients=5, budget_constraint=11)

    for seed in range(20):
        chosen = strategy(clients, Connectivity.empty(), History(), policy, np.random.default_rng(seed))
        assert chosen.total_cost <= 11
        assert 2 <= len(chosen.selected) <= 3
        left = 11 - chosen.total_cost
        for skipped in chosen.skipped:
            assert skipped.reason.endswith(f"s to a budget of which {left:.3g} s is left")


def test_random_draws_everybody_alike() -> None:
    clients = candidates(5)
    policy = SelectionPolicy(min_clients=2, max_clients=2)
    rng = np.random.default_rng(0)
    counts = dict.fromkeys("abcde", 0)
    for _ in range(500):
        for name in random(clients, Connectivity.empty(), History(), policy, rng).client_ids:
            counts[name] += 1

    # 200 each; 4 standard deviations of a binomial (500, 0.4) are 44
    assert all(abs(count - 200) < 44 for count in counts.values())


def test_random_explains_its_draw() -> None:
    chosen = random(
        candidates(3),
        Connectivity.empty(),
        History((frozenset("a"), frozenset("b"))),
        SelectionPolicy(min_clients=1, max_clients=1),
        np.random.default_rng(0),
    )

    # default_rng(0) draws 0.637, 0.270, 0.041
    assert [(one.client_id, round(one.score, 3), one.marginal_cost) for one in chosen.selected] == [("a", 0.637, 2.0)]
    assert chosen.skipped[0].reason == "it drew 0.270, and the lowest of the 1 chosen drew 0.637"
    assert chosen.fairness == pytest.approx(9 / (3 * 5))  # counts of 2, 1, 0
    assert chosen.label_divergence is None
    assert chosen.plan == Plan("star", {"a": None})
    assert math.isclose(chosen.total_cost, 2.0)
