"""The network in numbers."""

from dataclasses import asdict

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.network.topology import topology_stats
from tcsfeel.selection import Candidate


def client(name: str, *, data_size: int = 100, bandwidth: float = 10, latency: float = 5) -> Candidate:
    return Candidate(
        client_id=name,
        data_size=data_size,
        data_distribution=None,
        compute_capacity=1,
        bandwidth=bandwidth,
        latency=latency,
        reliability=0.5,
    )


def test_a_path_and_a_lone_client() -> None:
    links = Connectivity.from_edges("abcx", [Edge("a", "b", 1), Edge("b", "c", 0), Edge("x", "a", 1)])
    clients = [client("a"), client("b", data_size=200, bandwidth=40), client("c"), client("lone", latency=25)]

    stats = topology_stats(links, clients)

    assert asdict(stats) == {
        "num_clients": 4,
        "num_edges": 2,  # x is no client, so its link does not count
        "avg_degree": 1.0,  # 2 * 2 / 4
        "components": 2,
        "bridges": 2,
        "avg_bandwidth": 17.5,  # (10 + 40 + 10 + 10) / 4
        "avg_latency": 10.0,  # (5 + 5 + 5 + 25) / 4
        "total_data": 500,
        "avg_reliability": 0.5,
        "betweenness": pytest.approx({"a": 0, "b": 1 / 3, "c": 0, "lone": 0}),  # a-c, of the 3 pairs without b
    }


def test_one_client() -> None:
    stats = topology_stats(Connectivity.empty(), [client("a", bandwidth=40)])

    assert (stats.num_clients, stats.components, stats.bridges) == (1, 1, 0)
    assert (stats.avg_bandwidth, stats.avg_latency, stats.avg_reliability) == (40, 5, 0.5)


def test_no_clients() -> None:
    stats = topology_stats(Connectivity.empty(), [])

    assert (stats.num_clients, stats.num_edges, stats.avg_degree, stats.components) == (0, 0, 0, 0)
    assert (stats.avg_bandwidth, stats.total_data, stats.betweenness) == (0, 0, {})


CELLS = [(i, j) for j in range(9) for i in range(j)]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(CELLS), st.sampled_from([0.0, 1.0, 2.0])))
def test_components_and_bridges_are_those_of_the_whole_graph(cells: dict[tuple[int, int], float]) -> None:
    edges = [Edge(str(i), str(j), cost) for (i, j), cost in cells.items()]
    whole = nx.Graph(cells.keys())
    whole.add_nodes_from(range(9))

    stats = topology_stats(Connectivity.from_edges("012345678", edges), [client(name) for name in "012345678"])

    assert stats.components == nx.number_connected_components(whole)
    assert stats.bridges == sum(1 for _ in nx.bridges(whole))


def test_the_clients_that_are_asked_about_decide_also_the_second_time() -> None:
    links = Connectivity.from_edges("abc", [Edge("a", "b", 1), Edge("b", "c", 1)])

    of_all = topology_stats(links, [client(name) for name in "abc"])
    of_two = topology_stats(links, [client(name) for name in "ac"])

    assert (of_all.num_edges, of_two.num_edges) == (2, 0)
    assert topology_stats(links, [client(name) for name in "abc"]) == of_all


def test_the_links_are_measured_once_while_the_same_clients_are_asked_about() -> None:
    links = Connectivity.from_edges("abc", [Edge("a", "b", 1), Edge("b", "c", 1)])

    first, second = (topology_stats(links, [client(name) for name in "abc"]) for _ in range(2))

    assert second.betweenness is first.betweenness
