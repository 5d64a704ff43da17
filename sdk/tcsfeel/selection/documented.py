"""Rank clients one by one by a documented score, so that others can compare with it.

    score = 0.35 data_quality + 0.30 mean(betweenness, bandwidth, latency) + 0.15 compute + 0.10 reliability * quality

with the components of `components`, each in 0..1, and the mean quality of the client's past updates, 0 before the
first. The score and its weights come from the code repository KhryptorGraphics/novacron
(`backend/ml/federated/topology.py`), not from the paper that is called TCS-FEEL; see docs/selection.md. The weights add
up to 0.9, so that is the most a client can score. The best fill the slots in order, and the last 20 % of the slots
(rounded down) are drawn from the others in proportion to their scores.
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

DATA, NETWORK, COMPUTE, BONUS = 0.35, 0.30, 0.15, 0.10
DRAWN = 0.2  # of the slots
DIGITS = 12  # scores that differ by rounding alone are equal


def documented(
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """Clients with the highest score, each scored on its own, for comparison.

    As many as `max_clients` and the budget allow, best score first; one that does not fit is passed over.
    """
    pool = Pool(tuple(candidates), connectivity, history, policy)
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
    return report(
        "documented",
        pool,
        members,
        budget=budget,
        scores=scores,
        components=parts,
        reason=lambda position: (
            f"score {scores[position]:.3f}, the lowest that was high enough is {last:.3f};"
            f" not drawn for the {drawn} slots that are drawn at random"
        ),
    )
