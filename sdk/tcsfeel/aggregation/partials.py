"""Average some updates of a round, so that the mean can take their place in the mean of the whole round.

With the means m_g of groups of updates and the sums W_g of their weights, sum(W_g * m_g) / sum(W_g) is the mean of all
updates. So the mean of a group travels as one update whose weight is W_g. It has the dtype in which `Updates.mean`
computes: it is rounded to a dtype of the model with fewer bits, or to integers, only once, with the round's own mean.

A rule can do with such means if it is a mean whose weights need nothing but the update itself, or, like `balanced`, can
be found with the proportions in each mean as they are. `NEEDS_EACH` names the others, each with the reason.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.aggregation.blocks import Updates
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.norms import OUTLIER_FACTOR
from tcsfeel.aggregation.updates import is_floating
from tcsfeel.errors import UpdateRejected

_COMPARES = "it compares the updates of single clients, and a relay sends only their mean"
NEEDS_EACH: Mapping[Aggregation, str] = {
    "median": _COMPARES,
    "trimmed_mean": _COMPARES,
    "krum": _COMPARES,
    "multi_krum": _COMPARES,
    "geometric_median": _COMPARES,
    "weighted": "an accuracy of 0 takes the whole weight of an update, and a relay cannot average without weights",
    "fednova": "it divides each update by its number of steps, compared with those of all others",
    "scaffold": "the server needs the update of each client for its control variates",
}
"""The rules that relays cannot be used with, each with the reason."""


def mean_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the mean of tensors: at least float32, and float64 for integers and booleans."""
    return np.promote_types(dtype, np.float32) if is_floating(dtype) else np.dtype(np.float64)


def partial_mean(updates: Updates, weights: list[float]) -> dict[str, npt.NDArray[Any]]:
    """Return the mean of some updates, with the dtypes of `mean_dtype`. The weights add up to more than zero."""
    mean = {name: np.empty(tensor.size, mean_dtype(tensor.dtype)) for name, tensor in updates.model.items()}
    for name, rows in updates.blocks():
        mean[name][rows] = updates.mean(weights, name, rows)
    return {name: values.reshape(updates.model[name].shape) for name, values in mean.items()}


def check_beside(norm: float, own: float, model_norm: float, factor: float = OUTLIER_FACTOR) -> None:
    """Raise `UpdateRejected` if an update is so much longer than a relay's own that it would ruin their mean.

    Args:
        norm: that of the update of a child.
        own: that of the relay's own update, which the relay knows to be right.
        model_norm: of the model. A shorter update is never too long.
        factor: how many times its own norm the relay takes.
    """
    limit = max(factor * own, model_norm)
    if norm > limit:
        raise UpdateRejected(f"its update is far larger than its relay's: norm {norm:.3g}, at most {limit:.3g}")
