"""Read the updates of a round block by block, so that only the current block is in memory.

Sums are computed value by value or by numpy's own reduction, and never by a BLAS. Its rounding differs between
processors, but an owner on another machine has to compute the same bytes.

A block has at most 2^16 values, so the two buffers of a weighted sum stay in a core's cache and each update is read
once, at the speed of memory. Weighted sums use the model's own precision, at least float32: with weights that add up to
one, the error is some units in the last place (Higham, "The accuracy of floating point summation", 1993). Everything
else is computed in float64.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.aggregation.statistics import learnt
from tcsfeel.aggregation.updates import Parameters, is_floating

Block = npt.NDArray[Any]
"""Values of one flattened tensor, in float32 or float64."""

Double = npt.NDArray[np.float64]

Combine = Callable[[str, slice], Block]
"""A rule at work: the combined updates at some places of a tensor (by name, flattened)."""

LARGEST_BLOCK = 1 << 16  # values of one update
ALL_BLOCKS = 1 << 23  # values of all updates together: 64 MiB as float64
SMALLEST_BLOCK = 1 << 10
RESIDENT_BYTES = 16 << 20  # read from the updates before their memory is given back
JOB_BYTES = 4 << 20  # read from the updates by one job of a thread: some milliseconds


def _keep() -> None:
    """Keep everything: the updates are the caller's own arrays, so there is no memory to give back."""


def values(parameters: Parameters, name: str, rows: slice) -> Double:
    """Return a part of one flattened tensor, in float64."""
    return np.array(parameters[name].ravel()[rows], np.float64)


def squared_length(block: Double) -> float:
    return float(np.add.reduce(np.square(block)))


class Updates:
    """Updates with the tensors of `model`, in an order that is the same each time.

    Args:
        model: the parameters that training started from; its order is that of the blocks.
        parameters: one set for each update.
        clip_norm: the largest Euclidean norm, over all tensors that are learnt, that the difference between an update
            and `model` may have; a longer one is shortened to it (McMahan et al., "Learning differentially private
            recurrent language models", 2018). Statistics and integers are neither counted nor shortened.
        statistics: patterns for more names of statistics; see `learnt`.
        release: called now and then between blocks; a caller that maps files gives their memory back.
    """

    def __init__(
        self,
        model: Parameters,
        parameters: Sequence[Parameters],
        *,
        clip_norm: float = math.inf,
        statistics: Collection[str] = (),
        release: Callable[[], None] = _keep,
    ) -> None:
        self.model = model
        self.learnt = learnt(model, statistics)
        self._parameters = parameters
        self._release = release
        self._scales = self._unscaled = [1.0] * len(parameters)
        if clip_norm < math.inf:
            self._scales = [_scale(math.sqrt(squared), clip_norm) for squared in self._squared_norms()]

    def __len__(self) -> int:
        return len(self._parameters)

    def blocks(self) -> Iterator[tuple[str, slice]]:
        """Yield the name of each tensor with the slices of it, in order, that are its blocks."""
        size = max(SMALLEST_BLOCK, min(LARGEST_BLOCK, ALL_BLOCKS // max(1, len(self))))
        resident = 0
        for name, tensor in self.model.items():
            for start in range(0, tensor.size, size):
                rows = slice(start, min(start + size, tensor.size))
                yield name, rows
                resident += (rows.stop - rows.start) * tensor.itemsize * (len(self) + 1)
                if resident >= RESIDENT_BYTES:
                    self._release()
                    resident = 0
        self._release()

    def jobs(self) -> Iterator[list[tuple[str, slice]]]:
        """Yield the blocks in lists, each of which is enough work to be given to a thread."""
        job: list[tuple[str, slice]] = []
        size = 0
        for name, rows in self.blocks():
            job.append((name, rows))
            size += (rows.stop - rows.start) * self.model[name].itemsize * len(self)
            if size >= JOB_BYTES:
                yield job
                job, size = [], 0
        if job:
            yield job

    def release(self) -> None:
        """Give the memory of the updates back, if they are mapped files."""
        self._release()

    def one(self, index: int, name: str, rows: slice) -> Double:
        """Return the values of update `index`, clipped, in float64."""
        value, scale = values(self._parameters[index], name, rows), self._scales_of(name)[index]
        if scale == 1.0:
            return value
        now = values(self.model, name, rows)
        return now + scale * (value - now) if scale > 0.0 else now  # the difference may have overflowed

    def all(self, name: str, rows: slice) -> Double:
        """Return the values of each update, clipped: [updates, places], in float64."""
        stack = np.empty((len(self), rows.stop - rows.start))
        for index in range(len(self)):
            stack[index] = self.one(index, name, rows)
        return stack

    def mean(self, weights: Sequence[float], name: str, rows: slice) -> Block:
        """Return the mean of the updates, clipped; the weights have to add up to more than zero."""
        tensor, total = self.model[name], sum(weights)
        if is_floating(tensor.dtype):  # divided first: a sum of large values would leave the dtype
            dtype, weights, divisor = np.promote_types(tensor.dtype, np.float32), [one / total for one in weights], 1.0
        else:
            dtype, divisor = np.dtype(np.float64), total
        scales = self._scales_of(name)
        mean, product = np.zeros(rows.stop - rows.start, dtype), np.empty(rows.stop - rows.start, dtype)
        for parameters, weight, scale in zip(self._parameters, weights, scales, strict=True):
            if weight * scale > 0.0:
                np.multiply(parameters[name].ravel()[rows], dtype.type(weight * scale), out=product)
                mean += product
        stay = sum(weight * (1.0 - scale) for weight, scale in zip(weights, scales, strict=True))
        if stay > 0.0:  # the weight that clipping took away goes to the model before the round
            mean += tensor.ravel()[rows] * dtype.type(stay)
        mean /= divisor
        return mean

    def _scales_of(self, name: str) -> Sequence[float]:
        return self._scales if name in self.learnt else self._unscaled

    def _squared_norms(self) -> list[float]:
        squared = [0.0] * len(self)
        with np.errstate(over="ignore"):
            for name, rows in self.blocks():
                if name not in self.learnt:
                    continue
                now = values(self.model, name, rows)
                for index in range(len(self)):
                    squared[index] += squared_length(self.one(index, name, rows) - now)
        return squared


def _scale(norm: float, limit: float) -> float:
    return 1.0 if norm <= limit else limit / norm
