"""The shape of the network at a glance."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.sparse import csgraph

from app.domain.centrality import betweenness, positive
from app.domain.connectivity import Connectivity
from app.domain.selection.types import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyStats:
    """The network in numbers.

    Attributes:
        num_clients: clients, with links or without.
        num_edges: links, each counted once.
        avg_degree: links per client.
        components: connected parts, lone clients included.
        avg_bandwidth: Mbps to the server.
        avg_latency: ms to the server.
        total_data: samples.
        avg_reliability: 0..1.
        betweenness: of each client on the whole graph, 0..1.
    """

    num_clients: int
    num_edges: int
    avg_degree: float
    components: int
    avg_bandwidth: float
    avg_latency: float
    total_data: int
    avg_reliability: float
    betweenness: dict[str, float]


def topology_stats(connectivity: Connectivity, clients: Sequence[Candidate]) -> TopologyStats:
    """Describe `clients` and the links among them; every average over no clients is 0."""
    ids = [client.client_id for client in clients]
    links = connectivity.restricted(ids)
    count = max(len(ids), 1)
    return TopologyStats(
        num_clients=len(ids),
        num_edges=links.num_edges,
        avg_degree=2 * links.num_edges / count,
        components=int(csgraph.connected_components(positive(links.costs))[0]),
        avg_bandwidth=sum(client.bandwidth for client in clients) / count,
        avg_latency=sum(client.latency for client in clients) / count,
        total_data=sum(client.data_size for client in clients),
        avg_reliability=sum(client.reliability for client in clients) / count,
        betweenness=dict(zip(ids, betweenness(links.costs).tolist(), strict=True)),
    )
