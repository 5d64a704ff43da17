"""What users of the documented TCS-FEEL score expect to see of a client, whatever the strategy: each in 0..1.

| component | meaning |
|---|---|
| data_quality | exp(-KL(client labels || global labels)); 1 for a client that does not report |
| betweenness | centrality among the candidates on the sparsified graph, over the largest |
| bandwidth | over the largest |
| latency | the smallest over its own, both at least `LEAST_LATENCY` |
| compute | GFLOPS per sample, over the largest |
| fairness | participation debt above its floor, over the largest: 1 is the most overdue client |
"""

import numpy as np
import numpy.typing as npt

from app.domain.centrality import betweenness, sparsified
from app.domain.connectivity import Connectivity
from app.domain.selection.debt import FLOOR, participation_debt
from app.domain.selection.pool import Pool
from app.domain.selection.types import History

Floats = npt.NDArray[np.float64]

LEAST_LATENCY = 1.0  # ms; nobody is slower for less
DIGITS = 9  # parallel sums of centralities differ in the last bits from run to run


def shown_components(pool: Pool, connectivity: Connectivity, history: History) -> dict[str, Floats]:
    """(N,) of every component in the table above."""
    candidates = pool.candidates
    links = connectivity.restricted([candidate.client_id for candidate in candidates])
    latency = np.maximum([candidate.latency for candidate in candidates], LEAST_LATENCY)
    compute = np.array([candidate.compute_capacity for candidate in candidates])
    return {
        "data_quality": np.exp(-pool.labels.divergences()),
        "betweenness": np.round(_over_largest(betweenness(sparsified(links.costs))), DIGITS),
        "bandwidth": _over_largest(np.array([candidate.bandwidth for candidate in candidates])),
        "latency": latency.min() / latency,
        "compute": _over_largest(_over_largest(compute) / pool.samples),
        "fairness": _over_largest(participation_debt(pool.ids(range(len(candidates))), history) - FLOOR),
    }


def _over_largest(values: Floats) -> Floats:
    """Values of at least 0 relative to their largest; all 0 stay 0."""
    largest = values.max()
    return values / largest if largest > 0 else values
