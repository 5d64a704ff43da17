"""What the control plane knows of its clients' labels: what they report, or what their updates show."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from benchmarks.selection.learning import Model
from tcsfeel.selection.sketches import averaged, sketch

LabelKnowledge = Literal["exact", "sketch", "noisy"]

EPSILON = 1.0  # of the noise

Sketch = tuple[float, ...]


def reported(counts: list[float], knowledge: LabelKnowledge, rng: np.random.Generator) -> list[float] | None:
    """What a client with (C,) label counts reports: the counts, nothing, or counts with the noise of the agent SDK."""
    match knowledge:
        case "exact":
            return counts
        case "sketch":
            return None
        case "noisy":
            noisy = np.rint(np.maximum(counts + rng.laplace(0, 1 / EPSILON, len(counts)), 0))
            return list(map(float, noisy if noisy.any() else np.ones(len(counts))))


class Sketches:
    """The mean sketch of each client whose updates have come back, by position."""

    def __init__(self) -> None:
        self.means: dict[int, Sketch] = {}
        self._rounds: dict[int, int] = {}

    def fold(self, model: Model, updates: Model, members: Sequence[int]) -> None:
        """Take in the updates, stacked along the first axis, that `members` made of `model`."""
        for row, member in enumerate(members):
            update = {name: layer[row] for name, layer in updates._asdict().items()}
            newest = sketch(model._asdict(), update)
            if newest is not None:
                past = self._rounds.get(member, 0)
                self.means[member] = averaged(self.means.get(member, newest), past, newest)
                self._rounds[member] = past + 1
