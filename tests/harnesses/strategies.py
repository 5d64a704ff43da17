"""Select clients for several trainings at a time from groups of their own, so that busy clients make no difference.

The replicas find these strategies by an entry point, like those of any other package (see `registry`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.random import random
from tcsfeel.selection.registry import ENTRY_POINTS
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy, Strategy

GROUPS = ("a", "b", "c")
ATTACKED = ("q", "h", "e", "m", "s")  # the groups of the harness of hostile agents


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
q, h, e, m, s = map(_within, ATTACKED)


def offer(directory: Path) -> Path:
    """Put a package into `directory` that offers these strategies to every process with it on its path."""
    installed = directory / "tcsfeel_harness-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: tcsfeel-harness\nVersion: 1\n")
    points = [f"{strategy_name(group)} = {__name__}:{group}" for group in (*GROUPS, *ATTACKED)]
    (installed / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINTS}]", *points, ""]))
    return directory
