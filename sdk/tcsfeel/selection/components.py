"""Compute the components of the `documented` score, which every strategy shows for each client. Each is in 0..1.

| component | meaning |
|---|---|
| data_quality | exp(-KL(client labels || global labels)); 1 for a client that does not report labels |
| betweenness | centrality among the candidates on the sparsified graph, divided by the largest |
| bandwidth | bandwidth divided by the largest |
| latency | the smallest latency divided by the client's, both at least `LEAST_LATENCY` |
| compute | GFLOPS per sample, divided by the largest |
| fairness | participation debt above its floor, divided by the largest: the most overdue client has 1 |
"""

from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from tcsfeel.network.centrality import betweenness, sparsified
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.debt import FLOOR
from tcsfeel.selection.pool import Pool

Floats = npt.NDArray[np.float64]

LEAST_LATENCY = 1.0  # ms; smaller latencies count as this one
DIGITS = 9  # to which values are rounded, since parallel sums of centralities differ in the last bits from run to run


def shown_components(pool: Pool) -> dict[str, Floats]:
    """Return the values (N,) of each component in the table above, by its name."""
    columns = pool.columns
    latency = np.maximum(columns.latency, LEAST_LATENCY)
    compute = columns.compute_capacity
    return {
        "data_quality": np.exp(-pool.labels.divergences()),
        "betweenness": relay_centrality(pool.connectivity, pool.ids()),
        "bandwidth": _over_largest(columns.bandwidth),
        "latency": latency.min() / latency,
        "compute": _over_largest(_over_largest(compute) / pool.samples),
        "fairness": _over_largest(pool.debt - FLOOR),
    }


def relay_centrality(connectivity: Connectivity, client_ids: tuple[str, ...]) -> Floats:
    """Return the betweenness (N,) of `client_ids` on the sparsified graph, divided by the largest.

    Round after round asks for the same clients, so the last result is kept as long as the connectivity.
    """
    if not connectivity.costs.nnz:
        return np.zeros(len(client_ids))
    known = _LAST.get(connectivity)
    if known is None or known[0] != client_ids:
        links = connectivity.restricted(client_ids)
        known = client_ids, np.round(_over_largest(betweenness(sparsified(links.costs))), DIGITS)
        _LAST[connectivity] = known
    return known[1]


_LAST: WeakKeyDictionary[Connectivity, tuple[tuple[str, ...], Floats]] = WeakKeyDictionary()


def _over_largest(values: Floats) -> Floats:
    """Divide values of at least 0 by the largest of them. If all are 0, they stay 0."""
    largest = values.max()
    return values / largest if largest > 0 else values
