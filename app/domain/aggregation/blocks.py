"""The updates of a round, read block by block: of each only as much as is at work is in memory.

Sums are taken value by value or by numpy's own reduction, never by a BLAS, whose rounding differs between processors:
an owner on another machine has to come to the same bytes.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from app.domain.aggregation.updates import Parameters

Block = npt.NDArray[np.float64]
Combine = Callable[[str, slice], Block]
"""A rule at work: the combined updates at some places of a tensor (by name, flattened)."""

LARGEST_BLOCK = 1 << 16  # values of one update
ALL_BLOCKS = 1 << 22  # values of all updates together: 32 MiB as float64
SMALLEST_BLOCK = 1 << 10


def _keep() -> None:
    """Nothing to give back: the updates are the caller's own arrays."""


def values(parameters: Parameters, name: str, rows: slice) -> Block:
    """Some places of one flattened tensor, in float64."""
    return parameters[name].reshape(-1)[rows].astype(np.float64)


def squared_length(block: Block) -> float:
    return float(np.add.reduce(np.square(block)))


class Updates:
    """Updates with the tensors of `model`, in an order that is the same each time.

    Args:
        model: the parameters that training started from.
        parameters: one set for each update.
        clip_norm: the largest Euclidean norm, over all tensors, that the difference between an update and `model` may
            have; a longer one is shortened to it (McMahan et al., "Learning differentially private recurrent language
            models", 2018).
        release: called after each block; a caller that maps files gives their memory back.
    """

    def __init__(
        self,
        model: Parameters,
        parameters: Sequence[Parameters],
        *,
        clip_norm: float = math.inf,
        release: Callable[[], None] = _keep,
    ) -> None:
        self.model = model
        self._parameters = parameters
        self._release = release
        self._scales = [1.0] * len(parameters)
        if clip_norm < math.inf:
            self._scales = [_scale(math.sqrt(squared), clip_norm) for squared in self._squared_norms()]

    def __len__(self) -> int:
        return len(self._parameters)

    def blocks(self) -> Iterator[tuple[str, slice]]:
        """All places of all tensors, by name and in pieces."""
        size = max(SMALLEST_BLOCK, min(LARGEST_BLOCK, ALL_BLOCKS // max(1, len(self))))
        for name in sorted(self.model):
            total = self.model[name].size
            for start in range(0, total, size):
                yield name, slice(start, min(start + size, total))
                self._release()

    def one(self, index: int, name: str, rows: slice) -> Block:
        """What update `index` says, clipped."""
        value, scale = values(self._parameters[index], name, rows), self._scales[index]
        if scale == 1.0:
            return value
        now = values(self.model, name, rows)
        return now + scale * (value - now) if scale > 0.0 else now  # the difference may have overflowed

    def all(self, name: str, rows: slice) -> Block:
        """What each update says, clipped: [updates, places]."""
        stack = np.empty((len(self), rows.stop - rows.start))
        for index in range(len(self)):
            stack[index] = self.one(index, name, rows)
        return stack

    def _squared_norms(self) -> list[float]:
        squared = [0.0] * len(self)
        with np.errstate(over="ignore"):
            for name, rows in self.blocks():
                now = values(self.model, name, rows)
                for index in range(len(self)):
                    squared[index] += squared_length(self.one(index, name, rows) - now)
        return squared


def _scale(norm: float, limit: float) -> float:
    return 1.0 if norm <= limit else limit / norm
