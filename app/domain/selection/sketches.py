"""What a client's updates say of its labels where the client itself says nothing.

The gradient of a classifier's last layer is a sum over the samples, with signs that depend on their labels: clients
with like labels move it alike. A sketch is a random projection of the normalised last-layer update to `SIZE` dimensions
by signed hashing (Weinberger et al., "Feature hashing for large scale multitask learning", 2009), which keeps inner
products in expectation. A client's sketch is the mean over its past rounds, and is used in the place of label shares.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Parameters = Mapping[str, npt.NDArray[Any]]

SIZE = 32
SEED = 1  # of the projection: every replica must use the same


def sketch(before: Parameters, after: Parameters) -> tuple[float, ...] | None:
    """(SIZE,) the sketch of one update; None where the last layer has not moved.

    The last layer is the last tensor, and the one before it where the last is a bias (one dimension).
    """
    names = _last_layer(after)
    update = np.concatenate(
        [(after[name].astype(np.float64) - before[name].astype(np.float64)).ravel() for name in names]
    )
    length = float(np.linalg.norm(update))
    if not 0 < length < np.inf:
        return None
    buckets, signs = _projection(len(update))
    return tuple(np.bincount(buckets, weights=signs * (update / length), minlength=SIZE).tolist())


def averaged(mean: Sequence[float], rounds: int, newest: Sequence[float]) -> tuple[float, ...]:
    """The mean of `rounds` sketches, and of one more."""
    return tuple((np.asarray(mean) * rounds + np.asarray(newest)) / (rounds + 1))


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


def _last_layer(parameters: Parameters) -> list[str]:
    names = list(parameters)
    has_bias = len(names) > 1 and parameters[names[-1]].ndim == 1
    return names[-2:] if has_bias else names[-1:]


@lru_cache(maxsize=4)
def _projection(length: int) -> tuple[npt.NDArray[np.intp], Floats]:
    rng = np.random.default_rng([SEED, length])
    return rng.integers(0, SIZE, length).astype(np.intp), rng.choice([-1.0, 1.0], length)
