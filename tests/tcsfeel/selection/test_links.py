"""Relay trees by hand, and against the greedy rule written down plainly."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.selection import Candidate, History, Selection, SelectionPolicy, strategies
from tcsfeel.selection.costs import Budget
from tcsfeel.selection.links import LEAST_SAVING, SERVER, Floats, Positions, Relays
from tcsfeel.selection.search import best_set
from tcsfeel.selection.types import Weights
from tcsfeel.transfers import BYTES_PER_MB, Topology
from tests.tcsfeel.worlds import NAMES, any_candidates, any_connectivity, candidates, objective, pool, skewed

RELAY = SelectionPolicy(min_clients=1, max_clients=10, topology="relay")


def relays(server: Sequence[float], links: dict[tuple[int, int], float], reliability: float = 1.0) -> Relays:
    """Trees over clients whose models take `server` seconds one way, and `links` between them."""
    count = len(server)
    edges = [Edge(NAMES[one], NAMES[other], cost) for (one, other), cost in links.items()]
    chosen = candidates(count, server_cost=list(server), reliability=[reliability] * count)
    made = pool(chosen, RELAY, Connectivity.from_edges(NAMES[:count], edges)).links
    assert isinstance(made, Relays)
    return made


def plain(server: Floats, attach: Floats) -> tuple[list[int], list[float]]:
    """Open the relay that saves most, until none saves anything."""
    everybody = range(len(server))
    parents, costs = [SERVER] * len(server), [float(cost) for cost in server]
    relays: set[int] = set()

    def saving(relay: int) -> float:
        children = (max(costs[one] - attach[one, relay], 0.0) for one in everybody if one not in relays)
        return float(sum(children) - (server[relay] - costs[relay]))

    while others := [client for client in everybody if client not in relays]:
        relay = max(others, key=saving)
        if saving(relay) <= LEAST_SAVING * server.sum():
            break
        relays.add(relay)
        parents[relay], costs[relay] = SERVER, float(server[relay])
        for one in set(everybody) - relays:
            if attach[one, relay] < costs[one]:
                parents[one], costs[one] = relay, float(attach[one, relay])
    return parents, costs


def test_whoever_saves_most_relays() -> None:
    # both ways: 2, 8 and 10 s to the server; a-b 1 s and b-c 2 s both ways
    tree = relays([1.0, 4.0, 5.0], {(0, 1): 0.5, (1, 2): 1.0}).tree([0, 1, 2])

    assert tree.parents.tolist() == [1, SERVER, 1], "a would save 7 s for b, b saves 1 s for a and 8 s for c"
    assert tree.costs.tolist() == [1.0, 8.0, 2.0]


def test_the_price_of_falling_back_is_counted() -> None:
    # a relay that fails every other time costs b half of its own 8 s on top of the 1 s to it
    tree = relays([1.0, 4.0], {(0, 1): 0.5}, reliability=0.5).tree([0, 1])

    assert (tree.parents.tolist(), tree.costs.tolist()) == ([SERVER, 0], [2.0, 5.0])


def test_a_free_link_is_a_link_and_none_is_not() -> None:
    links = relays([1.0, 4.0, 4.0], {(0, 1): 0.0})

    assert links.tree([0, 1, 2]).costs.tolist() == [2.0, 0.0, 8.0]


def test_slow_links_leave_a_star() -> None:
    links = relays([1.0, 1.0, 1.0], {(0, 1): 5.0, (1, 2): 5.0, (0, 2): 1.0})

    assert links.tree([0, 1, 2]).parents.tolist() == [SERVER] * 3


def test_nobody_relays_for_what_may_be_rounding() -> None:
    # 2e6 s each: what is saved counts from 4e6 * 1e-12 s
    def parents(saving: float) -> Positions:
        link = 2e6 - saving
        between = sparse.csr_array(np.array([[0, link], [link, 0]]))
        return Relays(np.array([2e6, 2e6]), between, np.ones(2)).tree([0, 1]).parents

    assert parents(1e-6).tolist() == [SERVER, SERVER]
    assert parents(1e-5).tolist() == [SERVER, 0]


def test_sets_that_are_judged_together_do_not_know_of_each_other() -> None:
    # both ways: a and b at 2 s with a link of 1 s, c and d at 2e15 s
    links = relays([1.0, 1.0, 1e15, 1e15], {(0, 1): 0.5})

    assert links.cost(np.array([[0, 1], [2, 3]])).tolist() == [3.0, 4e15]


def test_a_client_that_hung_on_a_relay_may_become_one_itself() -> None:
    # both ways: a at 2 s, all others at 20 s. a carries b to e for 10 s, f to h for 1 s, and saves 4 * 10 + 3 * 19 s.
    # b could carry c to e for 1 s and save 3 * 19 s; after a it is 3 * 9 s, less the 10 s that b itself costs more
    links = {(0, one): 5.0 for one in range(1, 5)} | {(0, one): 0.5 for one in range(5, 8)}
    tree = relays([1.0, *[10.0] * 7], links | {(1, one): 0.5 for one in range(2, 5)}).tree(range(8))

    assert tree.parents.tolist() == [SERVER, SERVER, 1, 1, 1, 0, 0, 0]
    assert tree.costs.tolist() == [2, 20, 1, 1, 1, 1, 1, 1]


def test_of_two_relays_alike_a_client_stays_with_the_first() -> None:
    # both ways: a and b at 2 s, all others at 20 s; a carries c to e for 1 s each, b could c and f
    links = {(0, 2): 0.5, (0, 3): 0.5, (0, 4): 0.5, (1, 2): 0.5, (1, 5): 0.5}

    assert relays([1.0, 1.0, *[10.0] * 4], links).tree(range(6)).parents.tolist() == [SERVER, SERVER, 0, 0, 0, 1]


@given(any_candidates(), any_connectivity(), st.data())
def test_trees_are_those_of_the_greedy_rule(
    chosen: list[Candidate], connectivity: Connectivity, data: st.DataObject
) -> None:
    made = pool(chosen, RELAY, connectivity)
    count = len(chosen)
    sets = data.draw(
        st.lists(st.permutations(range(count)).map(lambda order: order[: max(1, count // 2)]), min_size=1, max_size=3)
    )
    links = made.links
    assert isinstance(links, Relays)
    costs = links.cost(np.array(sets))

    for members, cost in zip(sets, costs, strict=True):
        tree = links.tree(members)
        server = made.costs[members]
        direct = connectivity.restricted(made.ids(members)).costs
        attach = np.full((len(members), len(members)), math.inf)
        rows = np.repeat(np.arange(len(members)), np.diff(direct.indptr))
        attach[rows, direct.indices] = 2 * direct.data.astype(float) * made.policy.model_bytes / BYTES_PER_MB
        attach += (1 - made.reliability[members])[np.newaxis, :] * server[:, np.newaxis]

        parents, costs_by_hand = plain(server, attach)
        assert tree.parents.tolist() == parents
        assert tree.costs.tolist() == costs_by_hand
        assert cost == pytest.approx(tree.costs.sum())
        assert all(parent == SERVER or tree.parents[parent] == SERVER for parent in tree.parents)
        assert tree.costs.sum() <= server.sum() * (1 + 1e-12), "a tree is never dearer than the star"


def test_what_each_candidate_would_add_is_right_where_it_hangs_on_or_takes_over() -> None:
    links = relays([1.0, 4.0, 5.0, 0.5], {(0, 2): 0.25, (0, 3): 0.1, (1, 3): 0.25, (2, 3): 0.25})

    estimates = links.cost_with_each([0, 1])

    exact = links.cost(np.array([[0, 1, 2], [0, 1, 3]]))
    assert estimates[[2, 3]].tolist() == pytest.approx(exact.tolist())
    assert exact.tolist() == pytest.approx([10.5, 1.7])


def test_a_relay_stays_with_its_children_when_another_joins() -> None:
    # both ways: b hangs on a, 2 and 1 s. c, itself at 1 s, could hang on a for 0.2 s; a does not move to it
    links = relays([1.0, 4.0, 0.5], {(0, 1): 0.5, (0, 2): 0.1})

    assert links.tree([0, 1]).parents.tolist() == [SERVER, 0]
    assert links.cost_with_each([0, 1])[2] == pytest.approx(3.2)


@given(any_candidates(), any_connectivity(), st.data())
def test_what_each_candidate_would_add_is_the_better_of_hanging_on_and_taking_over(
    chosen: list[Candidate], connectivity: Connectivity, data: st.DataObject
) -> None:
    made = pool(chosen, RELAY, connectivity)
    everybody = range(len(chosen))
    members = data.draw(st.permutations(everybody))[: max(1, len(chosen) // 2)]
    tree = made.links.tree(members)
    direct = connectivity.restricted(made.ids()).costs
    seconds = {
        (one, int(other)): 2 * float(cost) * made.policy.model_bytes / BYTES_PER_MB
        for one in everybody
        for other, cost in zip(
            direct.indices[direct.indptr[one] : direct.indptr[one + 1]],
            direct.data[direct.indptr[one] : direct.indptr[one + 1]],
            strict=True,
        )
    }

    def attached(one: int, relay: int) -> float:
        return seconds.get((one, relay), math.inf) + float((1 - made.reliability[relay]) * made.costs[one])

    def added(candidate: int) -> float:
        at_server = [member for member, parent in zip(members, tree.parents, strict=True) if parent == SERVER]
        hanging = min([float(made.costs[candidate]), *(attached(candidate, member) for member in at_server)])
        leaves = [place for place in range(len(members)) if place not in tree.parents]
        taken = sum(max(float(tree.costs[place]) - attached(members[place], candidate), 0.0) for place in leaves)
        return min(hanging, float(made.costs[candidate]) - taken)

    estimates = made.links.cost_with_each(members)

    assert len(estimates) == len(chosen)
    for candidate in set(everybody).difference(members):
        expected = float(tree.costs.sum()) + added(candidate)
        assert estimates[candidate] == pytest.approx(expected, rel=1e-9, abs=1e-9 * float(made.costs.max()))


def fleet(seed: int, count: int = 60) -> tuple[list[Candidate], Connectivity]:
    """Skewed clients on a plane; those near each other have cheap links."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1000, (count, 2))
    distance = np.linalg.norm(places[:, np.newaxis] - places, axis=2)
    costs = np.where(distance < 250, 0.02 + distance / 5000, math.inf).astype(np.float32)
    np.fill_diagonal(costs, 0)
    clients = skewed(count, seed)
    return clients, Connectivity.from_matrix([client.client_id for client in clients], costs)


@pytest.mark.parametrize("seed", range(3))
def test_with_relays_the_search_beats_a_thousand_random_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clients, connectivity = fleet(seed)
    policy = SelectionPolicy(min_clients=10, max_clients=10, topology="relay")
    f = objective(clients, policy, debt=rng.uniform(-1, 1, 60), links=connectivity)

    found = best_set(f, Budget.of(f.pool), 10, rng)

    random_sets = np.array([rng.choice(60, 10, replace=False) for _ in range(1000)])
    assert float(f.value(f.sums(found))) < f.value(f.sums(random_sets)).min()


@pytest.mark.parametrize("name", ["tcs-feel", "random"])
def test_a_selection_tells_the_tree_and_what_it_costs(name: str) -> None:
    clients, connectivity = fleet(1)
    policy = SelectionPolicy(min_clients=10, max_clients=10, topology="relay")

    def planned(topology: Topology) -> Selection:
        return strategies()[name](
            clients, connectivity, History(), replace(policy, topology=topology), np.random.default_rng(1)
        )

    tree, star = planned("relay"), planned("star")

    assert (tree.plan.topology, star.plan.topology) == ("relay", "star")
    assert tree.total_cost == pytest.approx(sum(one.marginal_cost for one in tree.selected))
    assert tree.plan.parents.keys() == set(tree.client_ids)
    assert set(tree.plan.parents.values()) <= {*tree.client_ids, None}
    assert any(parent is not None for parent in tree.plan.parents.values())
    assert tree.total_cost < star.total_cost


def test_the_budget_holds_even_if_every_relay_fails() -> None:
    clients, connectivity = fleet(2)
    costs = pool(clients).costs
    limit = float(np.sort(costs)[:10].sum() * 1.1)
    policy = SelectionPolicy(min_clients=10, max_clients=30, budget_constraint=limit, topology="relay")

    chosen = strategies()["tcs-feel"](clients, connectivity, History(), policy, np.random.default_rng(1))

    members = [int(name[1:]) for name in chosen.client_ids]
    assert chosen.total_cost < costs[members].sum() <= limit


def test_with_relays_communication_counts_the_tree() -> None:
    policy = SelectionPolicy(min_clients=1, max_clients=3, topology="relay", weights=Weights(0, 1, 0, 0))
    links = Connectivity.from_edges(NAMES[:3], [Edge("a", "b", 0.5)])
    f = objective(candidates(3, server_cost=[1.0, 4.0, 1.0]), policy, links=links)

    # 2 and 1 s of the tree, over twice the mean of 2, 8 and 2 s
    assert float(f.terms(f.sums([0, 1])).communication) == pytest.approx(3 / 8)
    assert f.shares([0, 1]).communication.tolist() == pytest.approx([2 / 8, 1 / 8])
    assert float(f.terms(f.sums([1, 2])).communication) == pytest.approx(10 / 8)


def test_links_that_have_no_room_as_a_table_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    costs = np.triu(rng.uniform(0.1, 2.0, (12, 12)) * (rng.random((12, 12)) < 0.5), 1)
    between = sparse.csr_array(costs + costs.T)
    between.sort_indices()
    sets = np.array([rng.permutation(12)[:5] for _ in range(20)])

    def found() -> tuple[Floats, Floats]:
        links = Relays(np.full(12, 3.0), between, np.linspace(0.5, 1.0, 12))
        return links.cost(sets), links.cost_with_each(sets[0].tolist())

    as_a_table = found()
    monkeypatch.setattr("tcsfeel.selection.links.MOST_DENSE", 11)
    for sparse_costs, table_costs in zip(found(), as_a_table, strict=True):
        assert sparse_costs.tolist() == table_costs.tolist()
