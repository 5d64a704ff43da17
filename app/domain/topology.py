"""The shape of the network at a glance."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from app.domain.centrality import betweenness
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
        bridges: links that alone hold a part together: without one of them there is a part more.
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
    bridges: int
    avg_bandwidth: float
    avg_latency: float
    total_data: int
    avg_reliability: float
    betweenness: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What depends on the links alone, and takes a while."""

    num_edges: int
    components: int
    bridges: int
    betweenness: dict[str, float]


def topology_stats(connectivity: Connectivity, clients: Sequence[Candidate]) -> TopologyStats:
    """Describe `clients` and the links among them; every average over no clients is 0."""
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


def cohesion(costs: sparse.csr_array) -> tuple[int, int]:
    """How many connected parts there are, and how many links are bridges.

    A bridge is in every spanning forest; a link of one forest that is none lies on a cycle through what a second forest
    takes of the rest (Nagamochi, Ibaraki, "A linear-time algorithm for finding a sparse k-connected spanning subgraph
    of a k-connected graph", 1992). Each link of the second closes such a cycle with the way between its ends in the
    first. What is known to lie on cycles together is gathered at its highest node, so that no link is walked twice.

    Args:
        costs: N by N, symmetric; an explicit zero is a link.
    """
    links = sparse.csr_array((np.ones(costs.nnz), costs.indices, costs.indptr), shape=costs.shape)
    forest = csgraph.minimum_spanning_tree(links)
    rest = csgraph.minimum_spanning_tree(links - forest - forest.T)
    parts, above, depth = _rooted(forest)
    highest = list(range(len(above)))

    def top(node: int) -> int:
        while highest[node] != node:
            highest[node] = node = highest[highest[node]]
        return node

    bridges = int(forest.nnz)
    for ends in zip(*(side.tolist() for side in rest.nonzero()), strict=True):
        one, other = map(top, ends)
        while one != other:
            lower, other = (one, other) if depth[one] >= depth[other] else (other, one)
            highest[lower] = above[lower]
            bridges -= 1
            one = top(lower)
    return parts, bridges


def _rooted(forest: sparse.csr_array) -> tuple[int, list[int], list[int]]:
    """How many trees there are, and for each node the one above it and its depth; a last node is above all roots."""
    count = forest.shape[0]
    parts, tree_of = csgraph.connected_components(forest, directed=False)
    roots = np.unique(tree_of, return_index=True)[1]
    of, to = forest.nonzero()
    ends = np.concatenate([of, np.full(parts, count)]), np.concatenate([to, roots])
    rooted = sparse.csr_array((np.ones(len(ends[0])), ends), shape=(count + 1, count + 1))
    order, above = csgraph.breadth_first_order(rooted, count, directed=False)
    depth = [0] * (count + 1)
    for node in order[1:].tolist():
        depth[node] = depth[above[node]] + 1
    return int(parts), above.tolist(), depth


def _shape(connectivity: Connectivity, client_ids: tuple[str, ...]) -> _Shape:
    """The same clients are asked about again and again, so the last answer about a connectivity lives as long as it."""
    known = _LAST.get(connectivity)
    if known is None or known[0] != client_ids:
        known = client_ids, _measured(connectivity.restricted(client_ids))
        _LAST[connectivity] = known
    return known[1]


def _measured(links: Connectivity) -> _Shape:
    components, bridges = cohesion(links.costs)
    central = betweenness(links.costs).tolist()
    return _Shape(
        num_edges=links.num_edges,
        components=components,
        bridges=bridges,
        betweenness=dict(zip(links.client_ids, central, strict=True)),
    )


_LAST: WeakKeyDictionary[Connectivity, tuple[tuple[str, ...], _Shape]] = WeakKeyDictionary()
