"""Find the clients that lie between others.

Betweenness centrality of v is the share of shortest paths between other pairs that pass through v (Freeman, "A set of
measures of centrality based on betweenness", 1977), as `networkx.betweenness_centrality(normalized=True)` defines it.
"""

# Fewer edges, same result. An edge a-b that costs more than some path a-k-b is not part of any shortest path, so it
# is removed before the search. An edge that costs exactly as much stays, because it is a second shortest path, which
# counts. Costs are float32 and sums are float64, so sums of costs of similar magnitude are exact, and equal paths are
# found to be equal.
#
# Free links. With edges that cost nothing, the number of shortest paths is not defined, because a detour over a
# free link costs nothing. So a free link is given the cost of `FREE` times the smallest positive cost. This is almost
# nothing, but of two free paths the one with fewer links is the shorter one.
#
# Sparsified. In a complete graph whose costs obey the triangle inequality, every shortest path has one link, and
# every centrality is zero. Possible relays are found if each client keeps only its `NEIGHBOURS` cheapest links, and
# all that cost the same as the last of them, so that the order of the clients does not matter. If this breaks a
# connected part into pieces, the links of the minimum spanning forest are kept as well.

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

Floats = npt.NDArray[np.float64]

EXACT_NODES = 2000  # with more nodes, betweenness is estimated,
EXACT_WORK = 1e9  # and also with more nodes times links than this, which would take some seconds
SAMPLES = 256  # sources of the estimate
SEED = 1  # of the estimate, so that the same graph gets the same result
NEIGHBOURS = 8
MIDPOINTS = 16  # nearest neighbours of a node over which paths of two links are searched
DENSE = 32  # links per node, from which on it saves time to look for needless ones
FREE = 2.0**-20
ROUNDING = 1e-12  # relative to the longest possible path


def prepare() -> Any:
    """Return the module networkit, which takes a second to load when it is first used."""
    import networkit  # noqa: PLC0415  (a selection at random should not wait for this import)

    return networkit


def betweenness(costs: sparse.csr_array) -> Floats:
    """Return the betweenness centrality of every node (N,), 0..1.

    It is exact up to `EXACT_NODES` and `EXACT_WORK`. Beyond them, it is estimated from `SAMPLES` shortest-path trees
    (Geisberger, Sanders, Schultes, "Better Approximation of Betweenness Centrality", 2008).

    Args:
        costs: N by N, symmetric, at least 0, empty diagonal; an explicit zero is a free link.
    """
    size, _ = costs.shape
    if size < 3 or not costs.nnz:  # noqa: PLR2004  (no client can lie between two)
        return np.zeros(size)
    nk = prepare()
    once = sparse.triu(searched(positive(costs))).tocoo()
    graph = nk.GraphFromCoo((once.data, (once.row, once.col)), n=size, weighted=True)
    if size <= EXACT_NODES and size * once.nnz <= EXACT_WORK:
        search = nk.centrality.Betweenness(graph)
    else:
        nk.setSeed(SEED, useThreadId=False)
        search = nk.centrality.EstimateBetweenness(graph, SAMPLES, parallel=True)
    search.run()
    # networkit counts each pair from both ends, as many as networkx's normalisation assumes.
    scores: Floats = np.array(search.scores())
    return np.asarray(np.minimum(scores / ((size - 1) * (size - 2)), 1.0))


def searched(costs: sparse.csr_array) -> sparse.csr_array:
    """Return the links to search: the needed ones, if there are so many that finding the needless ones saves time."""
    size, _ = costs.shape
    return undominated(costs) if costs.nnz > DENSE * size else costs


def undominated(costs: sparse.csr_array) -> sparse.csr_array:
    """Remove edges that cost more than some two-hop path by more than rounding. The shortest paths stay the same.

    Args:
        costs: N by N, symmetric, above 0, float64, sorted indices.
    """
    indptr, indices, data = costs.indptr, costs.indices, costs.data
    size, _ = costs.shape
    margin = ROUNDING * size * float(data.max())
    keep = np.ones(len(data), dtype=bool)
    reach = np.full(size, np.inf)
    for start, end in pairwise(indptr.tolist()):
        ends, direct = indices[start:end], data[start:end]
        reach[ends] = direct
        nearest = np.argpartition(direct, MIDPOINTS)[:MIDPOINTS] if len(direct) > MIDPOINTS else np.arange(len(direct))
        for middle in nearest:
            onward = slice(indptr[ends[middle]], indptr[ends[middle] + 1])
            over = indices[onward]
            reach[over] = np.minimum(reach[over], direct[middle] + data[onward])
        keep[start:end] = direct <= reach[ends] + margin
    return _kept(costs, keep)


def sparsified(costs: sparse.csr_array, neighbours: int = NEIGHBOURS) -> sparse.csr_array:
    """Return the graph of each node's cheapest links, in as few pieces as before, with the same costs.

    Args:
        costs: N by N, symmetric, at least 0, sorted indices; an explicit zero is a free link.
        neighbours: how many links each node keeps at least, if it has as many.
    """
    data = costs.data
    farthest = np.array(
        [
            np.partition(data[start:end], neighbours - 1)[neighbours - 1] if end - start > neighbours else np.inf
            for start, end in pairwise(costs.indptr.tolist())
        ]
    )
    rows = np.repeat(np.arange(len(farthest)), np.diff(costs.indptr))
    keep = data <= np.maximum(farthest[rows], farthest[costs.indices])
    near = _kept(costs, keep)
    if csgraph.connected_components(positive(near))[0] > csgraph.connected_components(positive(costs))[0]:
        forest = csgraph.minimum_spanning_tree(positive(costs))
        cells = np.ravel_multi_index((rows, costs.indices), costs.shape)
        keep |= np.isin(cells, np.ravel_multi_index((forest + forest.T).nonzero(), costs.shape))
        return _kept(costs, keep)
    return near


def positive(costs: sparse.csr_array) -> sparse.csr_array:
    """Return the graph in float64 with free links at a cost above 0, because csgraph would not see them otherwise."""
    data = np.asarray(costs.data, np.float64)
    paid = data[data > 0]
    free = FREE * 2.0 ** np.floor(np.log2(paid.min())) if len(paid) else 1.0
    return sparse.csr_array((np.where(data > 0, data, free), costs.indices, costs.indptr), shape=costs.shape)


def _kept(costs: sparse.csr_array, keep: npt.NDArray[np.bool_]) -> sparse.csr_array:
    """Return the entries to keep as a symmetric matrix: those of which both directions are to be kept."""
    # Entry p of the transposed matrix, which has the same pattern, is entry mirror[p] here.
    mirror = sparse.csr_array((np.arange(costs.nnz), costs.indices, costs.indptr), shape=costs.shape).tocsc().data
    keep = keep & keep[mirror]
    indptr = np.concatenate(([0], np.cumsum(keep)))[costs.indptr]
    return sparse.csr_array((costs.data[keep], costs.indices[keep], indptr), shape=costs.shape)
