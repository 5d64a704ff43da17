"""The network in numbers."""

from dataclasses import asdict

import pytest

from app.domain.connectivity import Connectivity, Edge
from app.domain.selection import Candidate
from app.domain.topology import topology_stats


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
        "avg_bandwidth": 17.5,  # (10 + 40 + 10 + 10) / 4
        "avg_latency": 10.0,  # (5 + 5 + 5 + 25) / 4
        "total_data": 500,
        "avg_reliability": 0.5,
        "betweenness": pytest.approx({"a": 0, "b": 1 / 3, "c": 0, "lone": 0}),  # a-c, of the 3 pairs without b
    }


def test_no_clients() -> None:
    stats = topology_stats(Connectivity.empty(), [])

    assert (stats.num_clients, stats.num_edges, stats.avg_degree, stats.components) == (0, 0, 0, 0)
    assert (stats.avg_bandwidth, stats.total_data, stats.betweenness) == (0, 0, {})
