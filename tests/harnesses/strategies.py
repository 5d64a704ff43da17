"""Selection for several trainings at once that does not depend on who is busy: each has a group of clients of its own.

Offered to the replicas as a package of somebody else's would offer it: by an entry point (see `registry`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.random import random
from tcsfeel.selection.registry import ENTRY_POINTS
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy, Strategy

GROUPS = ("a", "b", "c")
ATTACKED = ("q", "h", "e", "m")  # of the harness of hostile agents


def client_id(group: str, number: int) -> str:
    return f"{group}-{number}"


def strategy_name(group: str) -> str:
    return f"group-{group}"


def _within(group: str) -> Strategy:
    def strategy(
        candidates: Sequence[Candidate],
        connectivity: Connectivity,
        history: History,
        policy: SelectionPolicy,
        rng: np.random.Generator,
    ) -> Selection:
        own = [candidate for candidate in candidates if candidate.client_id.startswith(client_id(group, 0)[:-1])]
        return random(own, connectivity, history, policy, rng)

    return strategy


a, b, c = map(_within, GROUPS)
q, h, e, m = map(_within, ATTACKED)


def offer(directory: Path) -> Path:
    """Make `directory` a place that gives these strategies to every process with it on its path."""
    installed = directory / "tcsfeel_harness-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: tcsfeel-harness\nVersion: 1\n")
    points = [f"{strategy_name(group)} = {__name__}:{group}" for group in (*GROUPS, *ATTACKED)]
    (installed / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINTS}]", *points, ""]))
    return directory
