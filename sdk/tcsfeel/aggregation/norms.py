"""Measure how far updates went, and find those that are far beyond the others and would ruin a mean.

An update's norm is the Euclidean length of its difference to the model, over all floating-point tensors, statistics
included. Two bounds are kept:

- `LONGEST`, as the update comes in. The server optimisers keep squares of differences in float32, which ends at 3.4e38:
  squares of 1e15 can be added up a hundred million times.
- `OUTLIER_FACTOR` times the median of the round's norms, before the updates are aggregated. An update that is not
  longer than the model itself is never an outlier: if most clients have hardly learnt anything, one that has learnt is
  not at fault. The robust rules get all updates, because they withstand outliers and depend on the number of updates.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from tcsfeel.aggregation.blocks import RESIDENT_BYTES, Block, squared_length
from tcsfeel.aggregation.config import AggregationConfig
from tcsfeel.aggregation.mean import WEIGHTS
from tcsfeel.aggregation.updates import Parameters, is_floating
from tcsfeel.errors import UpdateRejected

LONGEST = 1e15
OUTLIER_FACTOR = 1000.0
ENOUGH = 3  # updates, of which one can stand out

_PIECE = 1 << 16  # values at a time, which stay in a core's cache
_SMALL, _LARGE = 1e-26, 1e38  # sums of squares that are as exact in float32 as their values


def length(tensors: Parameters, origin: Parameters | None = None, *, release: Callable[[], None]) -> float:
    """Return the Euclidean norm over all floating-point tensors, of the difference to `origin` if there is one.

    It is infinite or NaN if a value or a square is. `release` is called after `RESIDENT_BYTES`, again and again, so
    that the memory of mapped files can be given back.
    """
    square, resident = 0.0, 0
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for name, tensor in tensors.items():
            if not is_floating(tensor.dtype):
                continue
            flat, before = tensor.ravel(), None if origin is None else origin[name].ravel()
            room = np.empty(min(_PIECE, len(flat)), np.promote_types(tensor.dtype, np.float32))
            for start in range(0, len(flat), _PIECE):
                piece = flat[start : start + _PIECE]
                past = None if before is None else before[start : start + _PIECE]
                square += _square(piece, past, room[: len(piece)])
                resident += piece.nbytes if past is None else 2 * piece.nbytes
                if resident >= RESIDENT_BYTES:
                    release()
                    resident = 0
    return math.sqrt(square)


def _square(piece: Block, past: Block | None, room: Block) -> float:
    """Return the squared length of a piece, or of its difference to the `past`.

    It is computed in `room`, in float32 for most models, and in float64 only if float32 cannot hold the squares.
    """
    np.subtract(piece, 0 if past is None else past, out=room, dtype=room.dtype)
    square = float(np.add.reduce(np.square(room, out=room)))
    if _SMALL < square < _LARGE:
        return square
    wide = np.array(piece, np.float64)
    if past is not None:
        wide -= past
    return squared_length(wide)


def check_norm(update: Parameters, model: Parameters, *, release: Callable[[], None]) -> float:
    """Return the norm of an update to `model`. Raises `UpdateRejected` if it is beyond `LONGEST`."""
    norm = length(update, model, release=release)
    if not norm <= LONGEST:
        raise UpdateRejected(f"its update is too far from the model: by {norm:.3g}, at most {LONGEST:.3g} is allowed")
    return norm


def longest(norms: Mapping[str, float]) -> str:
    """Say in words which of a round's updates went farthest."""
    client_id = max(sorted(norms), key=lambda name: norms[name])
    return f"the longest update is that of client {client_id!r}, with a norm of {norms[client_id]:.3g}"


def outliers(norms: Mapping[str, float], model_norm: float, config: AggregationConfig) -> dict[str, str]:
    """Return the updates that are too long to be averaged with the others, each with the reason.

    Args:
        norms: of a round's updates, by client.
        model_norm: of the model that they started from.
        config: may say `server_outlier_factor`.
    """
    if len(norms) < ENOUGH or config.aggregation not in WEIGHTS:
        return {}  # the robust rules withstand outliers
    median = sorted(norms.values())[len(norms) // 2]  # of an even number the upper one: a half is no majority
    factor = config.hyperparameter("server_outlier_factor", OUTLIER_FACTOR)
    limit = max(factor * median, model_norm)
    return {
        client_id: f"its update is far larger than the others: norm {norm:.3g}, the round's median is {median:.3g}"
        for client_id, norm in norms.items()
        if norm > limit > 0
    }
