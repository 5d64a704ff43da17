"""Learn about a client's labels from its updates, if the client does not report them.

The gradient of a classifier's last layer is a sum over the samples, with signs that depend on their labels. So clients
with similar labels change this layer in a similar way. A sketch is a random projection of the normalised update of the
last layer to `SIZE` dimensions by signed hashing (Weinberger et al., "Feature hashing for large scale multitask
learning", 2009), which keeps inner products in expectation. A client's sketch is the mean over its past rounds, and is
used in place of its label shares.

The tensors of a file have no particular order, so the last layer is found by its shape. It is a matrix if there is one,
no other layer uses its outputs (their number is not a side of other weights), and its bias has as many elements. If
there is no such layer or more than one, the last name decides, where numbers in names are compared as numbers.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint32]
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
    folded, square, done = np.zeros(SIZE), 0.0, 0
    with np.errstate(over="ignore", invalid="ignore"):
        for name in last_layer(before):
            old, new = before[name].reshape(-1), after[name].reshape(-1)
            for start in range(0, len(old), BLOCK):
                moved = np.subtract(new[start : start + BLOCK], old[start : start + BLOCK], dtype=np.float64)
                square += float((moved * moved).sum())  # not a dot product, for which BLAS would start threads
                folded += _folded(moved, done + start)
                release()
            done += len(old)
    if not 0 < square < np.inf:
        return None
    folded /= np.sqrt(square)
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


def _folded(values: Floats, first: int) -> Floats:
    """Return the sums (`SIZE`,) of values with signs by bucket. A value's position, from `first`, gives both."""
    drawn = _hashed(np.arange(first, first + len(values)).astype(np.uint32))
    signs = (drawn >> 31).astype(np.float64) * -2.0 + 1.0
    return np.bincount(drawn & (SIZE - 1), weights=values * signs, minlength=SIZE).astype(np.float64)


def _hashed(words: Words) -> Words:
    """Hash words, with the same result on every machine, by the finaliser of MurmurHash3 (Appleby, public domain)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        words ^= words >> shift
        words *= np.uint32(factor)
    words ^= words >> 16
    return words
