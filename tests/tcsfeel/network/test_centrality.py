"""Betweenness against networkx and by hand, on the whole graph and on the sparsified one."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tcsfeel.network import centrality
from tcsfeel.network.centrality import betweenness, positive, searched, sparsified, undominated
from tcsfeel.network.connectivity import Connectivity, Edge

NAMES = "abcdefgh"


def graph(*edges: tuple[str, str, float], nodes: str | None = None) -> Connectivity:
    names = nodes or "".join(sorted({name for edge in edges for name in edge[:2]}))
    return Connectivity.from_edges(names, [Edge(*edge) for edge in edges])


def by_networkx(links: Connectivity) -> list[float]:
    reference = nx.Graph()
    reference.add_nodes_from(links.client_ids)
    costs = positive(links.costs).tocoo()
    for row, column, cost in zip(costs.row, costs.col, costs.data, strict=True):
        reference.add_edge(links.client_ids[row], links.client_ids[column], weight=cost)
    central = nx.betweenness_centrality(reference, weight="weight")
    return [central[name] for name in links.client_ids]


def test_the_middle_of_a_path_lies_between_its_ends() -> None:
    # a - b - c: of the one pair without b, a-c, all shortest paths pass b
    assert betweenness(graph(("a", "b", 1), ("b", "c", 5)).costs).tolist() == [0, 1, 0]


def test_ties_share_the_credit() -> None:
    # a square: each of the two pairs of opposite corners has two equally short paths, so each corner gets 1/2 of one
    # pair; 3 pairs do not contain it
    square = graph(("a", "b", 1), ("b", "c", 1), ("c", "d", 1), ("d", "a", 1))

    assert betweenness(square.costs).tolist() == pytest.approx([1 / 6] * 4)


def test_a_direct_link_that_ties_with_a_detour_counts_as_a_path() -> None:
    # a-c costs 2, as does a-b-c: half of the only pair without b
    assert betweenness(graph(("a", "b", 1), ("b", "c", 1), ("a", "c", 2)).costs).tolist() == [0, 0.5, 0]


def test_of_free_paths_the_one_with_fewer_hops_is_the_shorter() -> None:
    # all free: the direct links win, nobody lies between
    assert betweenness(graph(("a", "b", 0), ("b", "c", 0), ("a", "c", 0)).costs).tolist() == [0, 0, 0]
    # a-b-c is free, a-c is not
    for cost in (2.0**-40, 0.1, 2.0**40):
        assert betweenness(graph(("a", "b", 0), ("b", "c", 0), ("a", "c", cost)).costs).tolist() == [0, 1, 0]


@pytest.mark.parametrize("links", [Connectivity.empty(), Connectivity.empty("abcd"), graph(("a", "b", 1))])
def test_nobody_lies_between_in_a_graph_without_paths(links: Connectivity) -> None:
    assert betweenness(links.costs).tolist() == [0] * len(links.client_ids)
    assert sparsified(links.costs).nnz == links.costs.nnz


CELLS = [(i, j) for j in range(8) for i in range(j)]
FEW_VALUES = st.sampled_from([0.0, 0.25, 1.0, 2.0, 3.0])  # sums collide
SPREAD = st.floats(2**-10, 2**10, width=32)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(CELLS), FEW_VALUES) | st.dictionaries(st.sampled_from(CELLS), SPREAD))
def test_it_equals_networkx(cells: dict[tuple[int, int], float]) -> None:
    links = graph(*((NAMES[i], NAMES[j], cost) for (i, j), cost in cells.items()), nodes=NAMES)

    assert betweenness(links.costs).tolist() == pytest.approx(by_networkx(links), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_networkx_on_a_dense_graph(seed: int) -> None:
    # 40 links per node, so that needless ones are dropped; whole numbers, so that many paths tie
    half = np.triu(np.random.default_rng(seed).integers(1, 30, (41, 41)), 1)
    links = Connectivity.from_matrix(map(str, range(41)), half + half.T)

    assert undominated(positive(links.costs)).nnz < 0.7 * links.costs.nnz
    assert betweenness(links.costs).tolist() == pytest.approx(by_networkx(links), abs=1e-9)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(CELLS), FEW_VALUES, min_size=10))
def test_it_equals_networkx_where_needless_links_are_dropped(cells: dict[tuple[int, int], float]) -> None:
    links = graph(*((NAMES[i], NAMES[j], cost) for (i, j), cost in cells.items()), nodes=NAMES)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(centrality, "DENSE", 0)
        assert betweenness(links.costs).tolist() == pytest.approx(by_networkx(links), abs=1e-9)


@pytest.mark.parametrize("scale", [2.0**-40, 1.0, 2.0**40])
def test_a_link_is_needless_whose_detour_is_cheaper_however_cheap_links_are(scale: float) -> None:
    detour = graph(("a", "b", scale), ("b", "c", scale), ("a", "c", 3 * scale), ("c", "d", scale))
    tie = graph(("a", "b", scale), ("b", "c", scale), ("a", "c", 2 * scale), ("c", "d", scale))

    assert undominated(positive(detour.costs)).nnz == 2 * 3
    assert undominated(positive(tie.costs)).nnz == 2 * 4


def test_needless_links_are_found_where_each_client_has_just_as_many_as_are_looked_at() -> None:
    half = np.triu(np.random.default_rng(6).integers(1, 100, (17, 17)), 1)  # 16 links each
    links = Connectivity.from_matrix(map(str, range(17)), half + half.T)
    costs = half + half.T + np.where(np.eye(17), 1000, 0)
    over = (costs[:, :, np.newaxis] + costs[np.newaxis]).min(axis=1)

    assert undominated(positive(links.costs)).nnz == ((costs <= over) & (costs < 1000)).sum()


def test_a_detour_is_found_from_either_end() -> None:
    # j looks at its 16 nearest alone, which lead nowhere, and i at both of its links
    links = graph(*(("j", leaf, 1) for leaf in "ABCDEFGHIJKLMNOP"), ("j", "k", 5), ("i", "k", 5), ("i", "j", 20))

    assert undominated(positive(links.costs)).nnz == 2 * (16 + 2)


def test_a_detour_over_a_far_node_is_not_looked_for_where_both_ends_have_many_near_ones() -> None:
    leaves = "ABCDEFGHIJKLMNOP"
    near = [(end, end + leaf, 1) for end in "ij" for leaf in leaves]
    names = ["i", "j", "k", *(end + leaf for end in "ij" for leaf in leaves)]
    edges = [*near, ("i", "k", 5), ("j", "k", 5), ("i", "j", 20)]
    links = Connectivity.from_edges(names, [Edge(*edge) for edge in edges])

    assert undominated(positive(links.costs)).nnz == 2 * (2 * 16 + 3)


@pytest.mark.parametrize(("more", "links"), [(0.0, 4), (0.5, 4), (1.0, 4), (1.01, 3)])
def test_a_link_that_costs_more_than_its_detour_by_no_more_than_rounding_stays(more: float, links: int) -> None:
    margin = centrality.ROUNDING * 4 * 8.0  # of four nodes, of which the longest link costs 8
    costs = np.array([[0, 1, 2 + more * margin, 0], [1, 0, 1, 0], [2 + more * margin, 1, 0, 8], [0, 0, 8, 0]])

    assert undominated(sparse.csr_array(costs)).nnz == 2 * links


def test_needless_links_are_looked_for_only_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    links = positive(graph(("a", "b", 1), ("b", "c", 1), ("a", "c", 3), ("c", "d", 1)).costs)  # 8 entries, 4 nodes

    monkeypatch.setattr(centrality, "DENSE", 2)
    assert searched(links) is links
    monkeypatch.setattr(centrality, "DENSE", 1)
    assert searched(links).nnz == 6


def test_the_graphs_of_few_costs_have_ties_and_needless_links() -> None:
    # so that the comparisons above are of what they are said to be of
    tied = needless = 0
    for seed in range(20):
        half = np.triu(np.random.default_rng(seed).choice([0.25, 1.0, 2.0, 3.0], (8, 8)), 1)
        links = Connectivity.from_matrix(NAMES, half + half.T)
        paths = nx.from_numpy_array(half + half.T)
        for i, j in CELLS:
            tied += len(list(nx.all_shortest_paths(paths, i, j, weight="weight"))) > 1
        needless += links.num_edges - undominated(positive(links.costs)).nnz // 2

    assert tied > 50  # of 560 pairs
    assert needless > 100


def test_the_estimate_is_close_on_a_star(monkeypatch: pytest.MonkeyPatch) -> None:
    star = graph(*(("a", leaf, 1.0) for leaf in "bcdefgh"))
    exact = betweenness(star.costs)
    monkeypatch.setattr(centrality, "EXACT_NODES", 2)

    estimated = betweenness(star.costs)

    assert exact.tolist() == [1] + [0] * 7
    assert estimated[0] == pytest.approx(1, abs=0.1)
    assert estimated[1:].tolist() == [0] * 7
    assert estimated.tolist() == betweenness(star.costs).tolist()
    monkeypatch.setattr(centrality, "SAMPLES", 1)  # one leaf, taken for all 8: 8 * 6 of the 7 * 6 paths
    assert betweenness(star.costs)[0] == 1


@pytest.mark.parametrize(("nodes", "work", "exact"), [(5, 20, True), (4, 20, False), (5, 19, False)])
def test_it_is_estimated_beyond_so_many_nodes_or_so_much_work(
    nodes: int, work: float, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = graph(*((one, other, 1.0) for one, other in pairwise("abcde")))  # 5 nodes times 4 links
    monkeypatch.setattr(centrality, "EXACT_NODES", nodes)
    monkeypatch.setattr(centrality, "EXACT_WORK", work)
    monkeypatch.setattr(centrality, "SAMPLES", 1)  # a single tree tells no two ends of a path alike

    assert (betweenness(path.costs).tolist() == pytest.approx([0, 1 / 2, 2 / 3, 1 / 2, 0])) == exact


def clusters() -> Connectivity:
    """Two rows of 12 clients a step apart, 100 steps between the rows, every pair linked by its distance."""
    places = np.concatenate((np.arange(12.0), np.arange(111.0, 123.0)))
    return Connectivity.from_matrix(map(str, range(24)), np.abs(places[:, np.newaxis] - places))


def test_sparsifying_shows_who_would_relay_where_distances_hide_it() -> None:
    links = clusters()

    # By distance alone every path over the others in between ties with the direct link, so each pair has many.
    near = sparsified(links.costs, neighbours=2)

    assert near.nnz < links.costs.nnz / 4
    assert (near != near.T).nnz == 0
    central = betweenness(near)
    # 11 and 12 are the ends of the only bridge: all 11 * 12 pairs across it that do not end there, and none less
    assert {int(position) for position in np.argsort(-central)[:2]} == {11, 12}


def kept(links: Connectivity, neighbours: int) -> set[str]:
    near = Connectivity(links.client_ids, sparsified(links.costs, neighbours))
    return {edge.source + edge.target for edge in near.edges()}


@pytest.mark.parametrize("neighbours", [2, 3, 5])
def test_a_link_is_kept_that_is_among_the_cheapest_of_either_end(neighbours: int) -> None:
    half = np.triu(np.random.default_rng(4).permutation(64).reshape(8, 8) + 1.0, 1)
    half[1:7, 7] = np.inf  # h has a single link
    links = Connectivity.from_matrix(NAMES, half + half.T)
    cheapest = {name: sorted(links.neighbours(name).values())[:neighbours] for name in NAMES}

    assert kept(links, neighbours) == {
        edge.source + edge.target
        for edge in links.edges()
        if edge.cost in cheapest[edge.source] + cheapest[edge.target]
    }


def test_the_cheapest_links_are_found_among_many() -> None:
    half = np.triu(np.random.default_rng(9).random((700, 700), dtype=np.float32), 1)
    costs = half + half.T
    links = Connectivity.from_matrix(map(str, range(700)), costs)
    eighth = np.sort(costs + np.diag(np.full(700, np.inf)), axis=1)[:, 7]

    expected = (costs <= np.maximum(eighth[:, np.newaxis], eighth)) & (costs > 0)
    assert np.array_equal(sparsified(links.costs, 8).toarray() > 0, expected)


def test_costs_become_numbers_of_64_bits_since_their_sums_would_be_rounded() -> None:
    assert positive(graph(("a", "b", 1)).costs).dtype == np.float64


def test_the_forest_is_left_out_where_the_cheapest_links_hold_together() -> None:
    # two triangles, a cheap link between them that no end counts among its two cheapest, and x that joins them anyhow
    triangles = [("a", "b", 1), ("b", "c", 1), ("a", "c", 1), ("d", "e", 1), ("e", "f", 1), ("d", "f", 1)]
    joined = graph(*triangles, ("a", "d", 10), ("b", "x", 12), ("e", "x", 12))
    apart = graph(*triangles, ("a", "d", 10), ("c", "f", 11))

    assert kept(joined, 2) == {"ab", "bc", "ac", "de", "ef", "df", "bx", "ex"}
    assert kept(apart, 2) == {"ab", "bc", "ac", "de", "ef", "df", "ad"}


def test_sparsifying_keeps_in_one_piece_what_was_in_one_piece() -> None:
    near = Connectivity(tuple(map(str, range(24))), sparsified(clusters().costs, neighbours=2))

    assert nx.is_connected(nx.Graph([(edge.source, edge.target) for edge in near.edges()]))
    assert near.neighbours("11")["12"] == 100


def test_equal_links_are_all_kept_since_nothing_tells_them_apart() -> None:
    equal = Connectivity.from_matrix(map(str, range(12)), np.ones((12, 12)) - np.eye(12))

    assert sparsified(equal.costs, neighbours=2).nnz == equal.costs.nnz
    assert betweenness(sparsified(equal.costs, neighbours=2)).tolist() == [0] * 12
