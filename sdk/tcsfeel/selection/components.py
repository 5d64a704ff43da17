"""Compute what every strategy shows of a client: the components of the `documented` score, each in 0..1.

| component | meaning |
|---|---|
| data_quality | exp(-KL(client labels || global labels)); 1 for a client that does not report |
| betweenness | centrality among the candidates on the sparsified graph, over the largest |
| bandwidth | over the largest |
| latency | the smallest over its own, both at least `LEAST_LATENCY` |
| compute | GFLOPS per sample, over the largest |
| fairness | participation debt above its floor, over the largest: 1 is the most overdue client |
"""

from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from tcsfeel.network.centrality import betweenness, sparsified
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.debt import FLOOR
from tcsfeel.selection.pool import Pool

Floats = npt.NDArray[np.float64]

LEAST_LATENCY = 1.0  # ms; nobody is slower for less
DIGITS = 9  # parallel sums of centralities differ in the last bits from run to run


def shown_components(pool: Pool) -> dict[str, Floats]:
    """Return (N,) values of every component in the table above."""
    candidates = pool.candidates
    latency = np.maximum([candidate.latency for candidate in candidates], LEAST_LATENCY)
    compute = np.array([candidate.compute_capacity for candidate in candidates])
    return {
        "data_quality": np.exp(-pool.labels.divergences()),
        "betweenness": relay_centrality(pool.connectivity, pool.ids()),
        "bandwidth": _over_largest(np.array([candidate.bandwidth for candidate in candidates])),
        "latency": latency.min() / latency,
        "compute": _over_largest(_over_largest(compute) / pool.samples),
        "fairness": _over_largest(pool.debt - FLOOR),
    }


def relay_centrality(connectivity: Connectivity, client_ids: tuple[str, ...]) -> Floats:
    """Return the (N,) betweenness among `client_ids` on the sparsified graph, relative to the largest.

    The same clients are asked about round after round, so the last answer about a connectivity lives as long as it.
    """
    known = _LAST.get(connectivity)
    if known is None or known[0] != client_ids:
        links = connectivity.restricted(client_ids)
        known = client_ids, np.round(_over_largest(betweenness(sparsified(links.costs))), DIGITS)
        _LAST[connectivity] = known
    return known[1]


_LAST: WeakKeyDictionary[Connectivity, tuple[tuple[str, ...], Floats]] = WeakKeyDictionary()


def _over_largest(values: Floats) -> Floats:
    """Scale values of at least 0 by their largest; if all are 0 they stay 0."""
    largest = values.max()
    return values / largest if largest > 0 else values
