"""The shape of the network: its size, its averages, and which clients lie between the others.

Betweenness centrality of v is the share of shortest paths between other pairs that pass through v (Freeman, "A set of
measures of centrality based on betweenness", 1977), as `networkx.betweenness_centrality(normalized=True)` defines it.

*Fewer edges, same answer.* An edge a-b that costs more than some path a-k-b lies on no shortest path, so it is dropped
before the search; only strictly worse ones are, because a tie is a second shortest path that counts. Costs are
float32 and sums are float64, so sums of costs of similar magnitude are exact and ties are found as ties.

*Free links.* With edges of cost zero the number of shortest paths is not defined (a detour over a free link costs
nothing). A free link therefore counts as one of `FREE` times the smallest positive cost: as good as free, yet of two
free paths the one with fewer hops is the shorter.

*Sparsified.* In a complete graph whose costs obey the triangle inequality every shortest path is one hop and every
centrality is zero. Who would relay for whom shows once each client keeps only its cheap links: the `NEIGHBOURS`
cheapest ones of each end, ties included (else the order of the clients would decide), and the minimum spanning forest,
which keeps in one piece what was in one piece.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkit as nk
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from app.domain.connectivity import Connectivity
from app.domain.selection.types import Candidate

Floats = npt.NDArray[np.float64]

EXACT_UP_TO = 2000  # nodes; above, betweenness is estimated
SAMPLES = 256  # sources of the estimate
SEED = 1  # of the estimate: the same graph gets the same answer
NEIGHBOURS = 8
MIDPOINTS = 16  # a two-hop path is looked for over this many nearest neighbours of its start
FREE = 2.0**-20
ROUNDING = 1e-12  # relative to the longest path there may be


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyStats:
    """The network at a glance.

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
        components=components(links.costs),
        avg_bandwidth=sum(client.bandwidth for client in clients) / count,
        avg_latency=sum(client.latency for client in clients) / count,
        total_data=sum(client.data_size for client in clients),
        avg_reliability=sum(client.reliability for client in clients) / count,
        betweenness=dict(zip(ids, betweenness(links.costs).tolist(), strict=True)),
    )


def components(costs: sparse.csr_array) -> int:
    """How many connected parts the graph has; 0 for a graph of no nodes."""
    return int(csgraph.connected_components(_positive(costs), directed=False, return_labels=False))


def betweenness(costs: sparse.csr_array) -> Floats:
    """(N,) betweenness centrality of every node, 0..1.

    Exact up to `EXACT_UP_TO` nodes, then estimated from `SAMPLES` shortest-path trees (Geisberger, Sanders, Schultes,
    "Better Approximation of Betweenness Centrality", 2008).

    Args:
        costs: N by N, symmetric, at least 0, empty diagonal; an explicit zero is a free link.
    """
    size = costs.shape[0]
    if size < 3 or not costs.nnz:  # noqa: PLR2004  (nobody can lie between two)
        return np.zeros(size)
    useful = undominated(_positive(costs))
    once = sparse.triu(useful).tocoo()
    graph = nk.GraphFromCoo((once.data, (once.row, once.col)), n=size, weighted=True)
    if size <= EXACT_UP_TO:
        search = nk.centrality.Betweenness(graph)
    else:
        nk.setSeed(SEED, useThreadId=False)
        search = nk.centrality.EstimateBetweenness(graph, SAMPLES)
    search.run()
    # networkit counts each pair from both ends, as many as networkx's normalisation assumes.
    return np.array(search.scores()) / ((size - 1) * (size - 2))


def undominated(costs: sparse.csr_array) -> sparse.csr_array:
    """The graph without edges that some two-hop path beats by more than rounding: its shortest paths are the same.

    Args:
        costs: N by N, symmetric, above 0, float64, sorted indices.
    """
    indptr, indices, data = costs.indptr, costs.indices, costs.data
    margin = ROUNDING * costs.shape[0] * float(data.max())
    keep = np.ones(len(data), dtype=bool)
    reach = np.full(costs.shape[0], np.inf)
    for start, end in pairwise(indptr.tolist()):
        ends, direct = indices[start:end], data[start:end]
        reach[ends] = direct
        nearest = np.argpartition(direct, MIDPOINTS)[:MIDPOINTS] if len(direct) > MIDPOINTS else np.arange(len(direct))
        for middle in nearest:
            onward = slice(indptr[ends[middle]], indptr[ends[middle] + 1])
            over = indices[onward]
            reach[over] = np.minimum(reach[over], direct[middle] + data[onward])
        keep[start:end] = direct <= reach[ends] + margin
        reach.fill(np.inf)
    return _kept(costs, keep)


def sparsified(costs: sparse.csr_array, neighbours: int = NEIGHBOURS) -> sparse.csr_array:
    """The graph of each node's cheapest links and the minimum spanning forest; costs as they were.

    Args:
        costs: N by N, symmetric, at least 0, sorted indices; an explicit zero is a free link.
        neighbours: how many links each node keeps at least, where it has them.
    """
    data = costs.data
    farthest = np.array(
        [
            np.partition(data[start:end], neighbours - 1)[neighbours - 1] if end - start > neighbours else np.inf
            for start, end in pairwise(costs.indptr.tolist())
        ]
    )
    rows = np.repeat(np.arange(costs.shape[0]), np.diff(costs.indptr))
    keep = data <= np.maximum(farthest[rows], farthest[costs.indices])
    if not keep.all():
        forest = csgraph.minimum_spanning_tree(_positive(costs)).tocoo()
        size = costs.shape[0]
        keep |= np.isin(rows * size + costs.indices, forest.row.astype(np.int64) * size + forest.col)
    return _kept(costs, keep, both=False)


def _positive(costs: sparse.csr_array) -> sparse.csr_array:
    """The same graph in float64 with free links at a cost above 0; csgraph would not see them otherwise."""
    data = costs.data.astype(np.float64)
    paid = data[data > 0]
    free = FREE * 2.0 ** np.floor(np.log2(paid.min())) if len(paid) else 1.0
    return sparse.csr_array((np.where(data > 0, data, free), costs.indices, costs.indptr), shape=costs.shape)


def _kept(costs: sparse.csr_array, keep: npt.NDArray[np.bool_], *, both: bool = True) -> sparse.csr_array:
    """The entries to keep, as a symmetric matrix: where both directions are to be kept, or where either is."""
    # Entry p of the transposed matrix, which has the same pattern, is entry mirror[p] here.
    mirror = sparse.csr_array((np.arange(costs.nnz), costs.indices, costs.indptr), shape=costs.shape).tocsc().data
    keep = keep & keep[mirror] if both else keep | keep[mirror]
    indptr = np.concatenate(([0], np.cumsum(keep)))[costs.indptr]
    return sparse.csr_array((costs.data[keep], costs.indices[keep], indptr), shape=costs.shape)
