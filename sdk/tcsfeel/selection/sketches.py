"""Learn from a client's updates what it does not say of its labels.

The gradient of a classifier's last layer is a sum over the samples, with signs that depend on their labels: clients
with like labels move it alike. A sketch is a random projection of the normalised last-layer update to `SIZE` dimensions
by signed hashing (Weinberger et al., "Feature hashing for large scale multitask learning", 2009), which keeps inner
products in expectation. A client's sketch is the mean over its past rounds, and is used in the place of label shares.

Files keep their tensors in no particular order, so the last layer is told by shape: a matrix, where there is one, whose
outputs nothing takes in, so that their number is a side of no other weights, and whose bias has as many elements. Where
no layer or several are like that, the name decides that comes last when numbers in names are compared as numbers.
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

SIZE = 32  # a power of two: a bucket is the low bits of a hash
# The square of a sketch's length is 1 on average, whatever the update. One that was made to fit the hashes could be
# much longer, and make all others look alike.
LONGEST = 2.0
BLOCK = 1 << 16  # elements at a time: what they take stays in the processor's cache
MATRIX = 2  # dimensions


def sketch(
    before: Parameters, after: Parameters, *, release: Callable[[], None] = lambda: None
) -> tuple[float, ...] | None:
    """(SIZE,) the sketch of one update; None where the last layer has not moved, or too far for its length to be told.

    Args:
        before: the model, of any shapes and dtypes.
        after: the update, alike.
        release: called between blocks; who maps files gives their memory back.
    """
    folded, square, done = np.zeros(SIZE), 0.0, 0
    with np.errstate(over="ignore", invalid="ignore"):
        for name in last_layer(before):
            old, new = before[name].reshape(-1), after[name].reshape(-1)
            for start in range(0, len(old), BLOCK):
                moved = np.subtract(new[start : start + BLOCK], old[start : start + BLOCK], dtype=np.float64)
                square += float((moved * moved).sum())  # not a dot product: BLAS would start threads for it
                folded += _folded(moved, done + start)
                release()
            done += len(old)
    if not 0 < square < np.inf:
        return None
    folded /= np.sqrt(square)
    folded *= min(1.0, LONGEST / max(float(np.sqrt((folded * folded).sum())), LONGEST))
    return tuple(folded.tolist())


def averaged(mean: Sequence[float], rounds: int, newest: Sequence[float]) -> tuple[float, ...]:
    """Return the mean of `rounds` sketches and of one more."""
    return tuple(((np.asarray(mean) * rounds + np.asarray(newest)) / (rounds + 1)).tolist())


def skew_of_sketches(sketches: Sequence[tuple[float, ...] | None], samples: Floats, scale: float | None) -> Floats:
    """(N, SIZE) how each client's sketch differs from the mean of all, weighted by samples; 0 where there is none.

    Args:
        sketches: of N clients.
        samples: (N,) above 0.
        scale: the mean square that the differences are brought to, so that they count like those of label shares;
            None to leave them.
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
    """(SIZE,) sums of values by bucket, each with its sign; both are drawn by the values' positions, from `first`."""
    drawn = _hashed(np.arange(first, first + len(values)).astype(np.uint32))
    signs = (drawn >> 31).astype(np.float64) * -2.0 + 1.0
    return np.bincount(drawn & (SIZE - 1), weights=values * signs, minlength=SIZE).astype(np.float64)


def _hashed(words: Words) -> Words:
    """Words whose bits look random, the same everywhere: the finaliser of MurmurHash3 (Appleby, public domain)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        words ^= words >> shift
        words *= np.uint32(factor)
    words ^= words >> 16
    return words
