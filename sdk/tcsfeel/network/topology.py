"""Summarise the shape of the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from tcsfeel.network.centrality import betweenness
from tcsfeel.network.connectivity import Connectivity


class Node(Protocol):
    """The known values of a client: Mbps and ms to the server, samples, and its reliability (0..1)."""

    @property
    def client_id(self) -> str: ...
    @property
    def bandwidth(self) -> float: ...
    @property
    def latency(self) -> float: ...
    @property
    def data_size(self) -> int: ...
    @property
    def reliability(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyStats:
    """Statistics of the network.

    Attributes:
        num_clients: the number of clients, with or without links.
        num_edges: the number of links, each counted once.
        avg_degree: the mean number of links of a client.
        components: the number of connected parts; a client without links is one of them.
        bridges: the number of links whose removal would split a part in two.
        avg_bandwidth: the mean bandwidth to the server in Mbps.
        avg_latency: the mean latency to the server in ms.
        total_data: the sum of the numbers of samples.
        avg_reliability: the mean reliability, 0..1.
        betweenness: the betweenness centrality of each client on the whole graph, 0..1.
    """

    num_clients: int
    num_edges: int
    avg_degree: float
    components: int
    bridges: int
    avg_bandwidth: float
    avg_latency: float
    total_data: int
    avg_reliability: float
    betweenness: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Shape:
    """The statistics that depend only on the links, and that take long to compute."""

    num_edges: int
    components: int
    bridges: int
    betweenness: dict[str, float]


def topology_stats(connectivity: Connectivity, clients: Sequence[Node]) -> TopologyStats:
    """Return the statistics of `clients` and of the links among them. Without clients, every mean is 0."""
    count = max(len(clients), 1)
    shape = _shape(connectivity, tuple(client.client_id for client in clients))
    return TopologyStats(
        num_clients=len(clients),
        num_edges=shape.num_edges,
        avg_degree=2 * shape.num_edges / count,
        components=shape.components,
        bridges=shape.bridges,
        avg_bandwidth=sum(client.bandwidth for client in clients) / count,
        avg_latency=sum(client.latency for client in clients) / count,
        total_data=sum(client.data_size for client in clients),
        avg_reliability=sum(client.reliability for client in clients) / count,
        betweenness=shape.betweenness,
    )


def backbone(costs: sparse.csr_array) -> Any:
    """Return a networkx graph of fewer than 2 N links with the same components and the same bridges.

    It consists of a spanning forest and a spanning forest of the remaining links. A bridge is in every spanning forest.
    A link of the first forest that is not a bridge lies on a cycle, whose other links the two forests replace
    (Nagamochi, Ibaraki, "A linear-time algorithm for finding a sparse k-connected spanning subgraph of a k-connected
    graph", 1992).

    Args:
        costs: N by N, symmetric; an explicit zero is a link.
    """
    import networkx as nx  # noqa: PLC0415  (other calls should not wait for this import)

    links = sparse.csr_array((np.ones(costs.nnz), costs.indices, costs.indptr), shape=costs.shape)
    first = _spanning_forest(links)
    second = _spanning_forest(links - first - first.T)
    return nx.from_scipy_sparse_array(first + second)


def _spanning_forest(links: sparse.csr_array) -> sparse.csr_array:
    """Return a spanning forest. scipy 1.15 only accepts links whose indices have 32 bits."""
    indices, ends = links.indices.astype(np.int32), links.indptr.astype(np.int32)
    return csgraph.minimum_spanning_tree(sparse.csr_array((links.data, indices, ends), shape=links.shape))


def _shape(connectivity: Connectivity, client_ids: tuple[str, ...]) -> _Shape:
    """Return the shape. The last result is kept with its connectivity, because the same clients are asked for often."""
    known = _LAST.get(connectivity)
    if known is None or known[0] != client_ids:
        known = client_ids, _measured(connectivity.restricted(client_ids))
        _LAST[connectivity] = known
    return known[1]


def _measured(links: Connectivity) -> _Shape:
    import networkx as nx  # noqa: PLC0415  (as above)

    graph = backbone(links.costs)
    central = betweenness(links.costs)
    return _Shape(
        num_edges=links.num_edges,
        components=nx.number_connected_components(graph),
        bridges=sum(1 for _ in nx.bridges(graph)),
        betweenness={client_id: float(central[row]) for client_id, row in links.position.items()},
    )


_LAST: WeakKeyDictionary[Connectivity, tuple[tuple[str, ...], _Shape]] = WeakKeyDictionary()
