"""Learn about a client's labels from its updates, if the client does not report them.

The gradient of a classifier's last layer is a sum over the samples, with signs that depend on their labels. So clients
with similar labels change this layer in a similar way. A sketch is a random projection of the normalised update of the
last layer to `SIZE` dimensions by signed hashing (Weinberger et al., "Feature hashing for large scale multitask
learning", 2009), which keeps inner products in expectation. A client's sketch is the mean over its past rounds.

The tensors of a file have no particular order, so the last layer is found by its shape. It is a matrix if there is one,
no other layer uses its outputs (their number is not a side of other weights), and its bias has as many elements. If
there is no such layer or more than one, the last name decides, where numbers in names are compared as numbers.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Parameters = Mapping[str, npt.NDArray[Any]]

SIZE = 32  # a power of two, because a bucket is the low bits of a hash
# The square of a sketch's length is 1 on average, whatever the update. One that was made to fit the hashes could be
# much longer, and make all others look alike.
LONGEST = 2.0
BLOCK = 1 << 16  # elements that are processed at a time, so few that they stay in the processor's cache
MATRIX = 2  # dimensions


def sketch(
    before: Parameters, after: Parameters, *, release: Callable[[], None] = lambda: None
) -> tuple[float, ...] | None:
    """Return the sketch (`SIZE`,) of one update; None if the last layer has not changed, or if its change overflows.

    Args:
        before: the model, with any shapes and dtypes.
        after: the update, with the same shapes and dtypes.
        release: called between blocks, so that the memory of mapped files can be given back.
    """
    sums, square, done = np.zeros(2 * SIZE), 0.0, 0
    with np.errstate(over="ignore", invalid="ignore"):
        for name in last_layer(before):
            old, new = before[name].reshape(-1), after[name].reshape(-1)
            for start in range(0, len(old), BLOCK):
                moved = np.subtract(new[start : start + BLOCK], old[start : start + BLOCK], dtype=np.float64)
                square += float((moved * moved).sum())  # not a dot product, for which BLAS would start threads
                sums += np.bincount(_drawn(done + start, len(moved)), moved, 2 * SIZE)
                release()
            done += len(old)
    if not 0 < square < np.inf:
        return None
    folded = (sums[:SIZE] - sums[SIZE:]) / np.sqrt(square)
    folded *= min(1.0, LONGEST / max(float(np.sqrt((folded * folded).sum())), LONGEST))
    return tuple(folded.tolist())


def averaged(mean: Sequence[float], rounds: int, newest: Sequence[float]) -> tuple[float, ...]:
    """Add one sketch to the mean of `rounds` sketches, and return the new mean."""
    return tuple(((np.asarray(mean) * rounds + np.asarray(newest)) / (rounds + 1)).tolist())


def skew_of_sketches(sketches: Sequence[tuple[float, ...] | None], samples: Floats, scale: float | None) -> Floats:
    """Return how each client's sketch differs from the mean (N, `SIZE`); 0 for clients without a sketch.

    Args:
        sketches: the sketches of N clients.
        samples: (N,) the numbers of samples, by which the mean is weighted, above 0.
        scale: the mean square to which the differences are scaled, so that they count as much as those of label shares;
            None to leave them as they are.
    """
    known = np.array([one is not None for one in sketches])
    skew = np.zeros((len(sketches), SIZE))
    if not known.any():
        return skew
    values = np.array([one for one in sketches if one is not None])
    skew[known] = values - np.average(values, axis=0, weights=samples[known])
    mean_square = float((skew[known] ** 2).sum(axis=1).mean())
    if scale is not None and mean_square > 0:
        skew *= np.sqrt(scale / mean_square)
    return skew


def last_layer(parameters: Parameters) -> list[str]:
    """Return the names of the last layer's tensors, weights first; all tensors if none has two dimensions."""
    names = sorted(parameters, key=_numbered)
    weights = [name for name in names if parameters[name].ndim >= MATRIX]
    if not weights:
        return names
    used = Counter(side for name in weights for side in parameters[name].shape)
    biases = {name: parameters[name].size for name in names if parameters[name].ndim == 1}
    outputs = {size for size in biases.values() if used[size] == 1}
    matrices = [name for name in weights if parameters[name].ndim == MATRIX] or weights
    last = ([name for name in matrices if outputs.intersection(parameters[name].shape)] or matrices)[-1]
    own = outputs.intersection(parameters[last].shape)
    return [last, *(name for name, size in biases.items() if size in own)]


def _numbered(name: str) -> list[str | int]:
    return [int(part) if part.isascii() and part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]


@lru_cache(64)  # 4 MB at most
def _drawn(first: int, count: int) -> npt.NDArray[np.uint8]:
    """Hash positions (`count`,) from `first` to buckets, where those with a minus come behind the others.

    The hash is the finaliser of MurmurHash3 (Appleby, public domain), with the same result on every machine.
    """
    words = np.arange(first, first + count).astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        words ^= words >> shift
        words *= np.uint32(factor)
    words ^= words >> 16
    return (words % SIZE + (words >> 31) * SIZE).astype(np.uint8)
