"""Simulate what the control plane knows about the labels of clients: what they report, or what their updates show."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from benchmarks.selection.learning import Model
from tcsfeel.selection.sketches import averaged, sketch

LabelKnowledge = Literal["exact", "sketch", "noisy"]

EPSILON = 1.0  # of the noise

Sketch = tuple[float, ...]


def reported(counts: list[float], knowledge: LabelKnowledge, rng: np.random.Generator) -> list[float] | None:
    """Return what a client with the label counts (C,) reports: the counts, None, or counts with the SDK's noise."""
    match knowledge:
        case "exact":
            return counts
        case "sketch":
            return None
        case "noisy":
            noisy = np.rint(np.maximum(counts + rng.laplace(0, 1 / EPSILON, len(counts)), 0))
            return list(map(float, noisy if noisy.any() else np.ones(len(counts))))


class Sketches:
    """The mean sketch of each client whose updates have been received, by position."""

    def __init__(self) -> None:
        self.means: dict[int, Sketch] = {}
        self._rounds: dict[int, int] = {}

    def fold(self, model: Model, updates: Model, members: Sequence[int]) -> None:
        """Add the updates of `members` to `model`, which are stacked along the first axis."""
        for row, member in enumerate(members):
            update = {name: layer[row] for name, layer in updates._asdict().items()}
            newest = sketch(model._asdict(), update)
            if newest is not None:
                past = self._rounds.get(member, 0)
                self.means[member] = averaged(self.means.get(member, newest), past, newest)
                self._rounds[member] = past + 1
