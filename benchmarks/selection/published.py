"""Choose clients as other papers do, for comparison. The product does not have these strategies.

They are written from the papers' descriptions. What the papers leave open, or measure by messages of their own, is said
with each of them. None of them looks at links, devices, a budget, or how often a client was selected.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from sklearn.cluster import OPTICS

from tcsfeel.selection.pool import Pool

Floats = npt.NDArray[np.float64]
Choice = Callable[[Pool, np.random.Generator], list[int]]

EXPLORED = 10.0  # lambda of Fed-CBS
LEAST_IMBALANCE = 1e-9
CLUSTERS = 5  # J of FedLECC
AMONG = 10  # DivFL draws its candidates for a place so that it misses the best tenth with a probability of 1/10


def fed_cbs(pool: Pool, rng: np.random.Generator) -> list[int]:
    """Sample clients one after the other, those more often with which the pooled labels are more balanced.

    Zhang et al., "Fed-CBS: a heterogeneity-aware client sampling mechanism for federated learning via class-imbalance
    reduction", 2022. The imbalance of a set is sum_b (share of label b - 1/B)^2. The first client is drawn in
    proportion to 1 / imbalance + lambda sqrt(3 ln k / (2 T)), with T the rounds that it took part in until round k. The
    m-th client is drawn in proportion to the imbalance of the set with it, to the power -m.
    """
    counts = pool.samples[:, np.newaxis] * pool.labels.shares
    number = pool.history.round_number
    times = np.array([sum(name in chosen for chosen in pool.history.rounds) for name in pool.ids()])
    explored = EXPLORED * np.sqrt(3 * math.log(max(number, 2)) / (2 * np.maximum(times, 1)))
    members = [_drawn(1 / _imbalance(counts) + explored, [], rng)]
    while len(members) < pool.policy.max_clients:
        whole = counts[members].sum(axis=0)
        with_each = np.log(_imbalance(whole + counts))
        members.append(_drawn(np.exp(-(len(members) + 1) * (with_each - with_each.min())), members, rng))
    return members


def _imbalance(counts: Floats) -> Floats:
    """Return the imbalance (N,) of label counts (N, B)."""
    shares = counts / counts.sum(axis=-1, keepdims=True)
    return np.asarray(np.maximum(((shares - 1 / counts.shape[-1]) ** 2).sum(axis=-1), LEAST_IMBALANCE))


def _drawn(weights: Floats, taken: list[int], rng: np.random.Generator) -> int:
    weights = weights.copy()
    weights[taken] = 0.0
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def divfl(pool: Pool, rng: np.random.Generator) -> list[int]:
    """Choose the set whose gradients represent those of all clients, by stochastic greedy facility location.

    Balakrishnan et al., "Diverse client selection for federated learning via submodular maximization", 2022. A client's
    gradient is taken from its newest updates, as in the variant without extra messages: here it is their mean sketch.
    Clients without a sketch come first, at random.
    """
    count, size = len(pool.candidates), pool.policy.max_clients
    known = np.array([one.sketch is not None for one in pool.candidates])
    members = [int(place) for place in rng.permutation(np.flatnonzero(~known))[:size]]
    sketches = np.array([one.sketch or (0.0,) * 32 for one in pool.candidates])
    distance = np.linalg.norm(sketches[:, np.newaxis] - sketches, axis=2)
    nearest = np.full(count, distance.max() + 1.0)
    for place in members:
        nearest = np.minimum(nearest, distance[:, place])
    while len(members) < size:
        rest = np.setdiff1d(np.arange(count), members)
        some = rng.choice(rest, min(len(rest), max(2, round(count / size * math.log(AMONG)))), replace=False)
        gains = np.maximum(nearest[known, np.newaxis] - distance[np.ix_(known, some)], 0.0).sum(axis=0)
        best = int(some[np.argmax(gains)])
        members.append(best)
        nearest = np.minimum(nearest, distance[:, best])
    return members


def fedlecc(pool: Pool, rng: np.random.Generator) -> list[int]:
    """Choose the clusters of similar labels with the highest mean loss, and in each the clients with the highest loss.

    Jimenez-Gutierrez et al., "FedLECC: cluster- and loss-guided client selection for federated learning under non-IID
    data", 2026. Clusters are those of OPTICS by the Hellinger distance; clients that are in none are clusters of their
    own. In the paper all clients report their loss in each round. Here it is the one that came with their last update;
    clients that have not reported any come first.
    """
    size = pool.policy.max_clients
    losses = np.array([np.inf if one.loss is None else one.loss for one in pool.candidates])
    ties = rng.random(len(losses))
    clusters = _clusters(pool.labels.shares)
    finite = np.where(np.isfinite(losses), losses, 10.0 + max((x for x in losses if np.isfinite(x)), default=0.0))
    ranked = sorted(clusters, key=lambda cluster: -float(finite[cluster].mean()))
    each = math.ceil(size / min(CLUSTERS, len(ranked)))
    by_loss = [sorted(cluster, key=lambda place: (-losses[place], ties[place])) for cluster in ranked]
    first = [place for cluster in by_loss for place in cluster[:each]]
    rest = [place for cluster in by_loss for place in cluster[each:]]
    return (first + rest)[:size]


MOST_KNOWN = 64  # fleets, one for each of the seeds that are trained at the same time
_KNOWN: dict[bytes, list[list[int]]] = {}


def _clusters(shares: Floats) -> list[list[int]]:
    """Return the positions of the clients of each cluster. Labels do not change, so the clusters are remembered."""
    key = shares.tobytes()
    if key not in _KNOWN:
        roots = np.sqrt(shares)
        distance = np.linalg.norm(roots[:, np.newaxis] - roots, axis=2) / math.sqrt(2)
        with np.errstate(divide="ignore", invalid="ignore"):  # clients with the same labels have no distance
            found = OPTICS(min_samples=2, metric="precomputed").fit(distance).labels_
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = [np.flatnonzero(found == label).tolist() for label in np.unique(found[found >= 0])]
        _KNOWN[key] += [[int(place)] for place in np.flatnonzero(found < 0)]
    return _KNOWN[key]


PUBLISHED: Mapping[str, Choice] = {"fed-cbs": fed_cbs, "divfl": divfl, "fedlecc": fedlecc}
