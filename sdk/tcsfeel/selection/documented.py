"""Rank clients one by one by a documented score, so that others can compare with it.

    score = 0.35 data_quality + 0.30 mean(betweenness, bandwidth, latency) + 0.15 compute + 0.10 reliability * quality

The components are those of the module `components`, each in 0..1. `quality` is the mean quality of the client's past
updates, and 0 before the first. The score and its weights come from the code repository KhryptorGraphics/novacron
(`backend/ml/federated/topology.py`), not from the paper that is called TCS-FEEL; see docs/selection.md. The
clients with the highest scores get the places, except for the last 20 % of the places (rounded down), which are drawn
from the others with probabilities in proportion to their scores.
"""

from collections.abc import Sequence

import numpy as np

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.components import shown_components
from tcsfeel.selection.costs import Budget, fill
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.report import report
from tcsfeel.selection.search import weighted_order
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy
from tcsfeel.selection.unselected import Phrase

DATA, NETWORK, COMPUTE, BONUS = 0.35, 0.30, 0.15, 0.10
DRAWN = 0.2  # share of the places
DIGITS = 12  # to which scores are rounded, so that those that differ by rounding errors alone are equal


def documented(
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """Select the clients with the highest scores, where each client is scored on its own, for comparison.

    It selects as many as `max_clients` and the budget allow. A client that does not fit in the budget is left out.
    """
    pool = Pool.of(candidates, connectivity, history, policy)
    budget = Budget.of(pool)
    parts = shown_components(pool)
    quality = np.array([candidate.update_quality or 0.0 for candidate in candidates])
    parts["reliability"] = np.array([candidate.reliability for candidate in candidates]) * quality
    network = (parts["betweenness"] + parts["bandwidth"] + parts["latency"]) / 3
    scores = np.round(
        DATA * parts["data_quality"] + NETWORK * network + COMPUTE * parts["compute"] + BONUS * parts["reliability"],
        DIGITS,
    )
    slots = min(policy.max_clients, len(candidates))
    drawn = int(DRAWN * slots)
    ranked = fill(np.argsort(-scores, kind="stable").tolist(), [], budget, slots - drawn)
    members = fill(weighted_order(scores, rng), ranked, budget, slots)
    last = min(float(scores[member]) for member in ranked)
    text = (
        f"score {{:.3f}}, the lowest that was high enough is {last:.3f};"
        f" not drawn for the {drawn} slots that are drawn at random"
    )
    return report(
        "documented",
        pool,
        members,
        budget=budget,
        scores=scores,
        components=parts,
        reason=Phrase((text,), scores.astype(np.float32)),
    )
