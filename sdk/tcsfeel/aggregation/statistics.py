"""Tell the tensors that training has learnt from those that only count or measure something.

A server optimiser computes more than the mean of the updates. That has no meaning for a running variance, which must
not be negative, or for a counter: the variance becomes negative, and the next forward pass gives NaN. So statistics and
integers are averaged. They are recognised by their names: those that the frameworks give to the statistics of
normalisation layers, and the patterns that a training adds. Values cannot tell them apart: a layer's scale is learnt,
but it begins at one and may be positive in every update, just like a variance.
"""

import re
from collections.abc import Collection
from fnmatch import fnmatchcase

from tcsfeel.aggregation.updates import Parameters, is_floating

# Components of tensors' names, between dots and slashes: PyTorch and MXNet, Keras, Haiku, Flax.
WELL_KNOWN = frozenset(
    {
        "running_mean", "running_var", "num_batches_tracked", "moving_mean", "moving_variance", "moving_var",
        "mean_ema", "var_ema", "batch_stats",
    }
)  # fmt: skip


def learnt(model: Parameters, patterns: Collection[str]) -> frozenset[str]:
    """Return the names of the tensors that a server optimiser may move and a clipping norm counts.

    Args:
        model: all tensors.
        patterns: globs over a whole name (``*`` and ``?``, capitals differ from small letters) for more statistics.
    """
    return frozenset(
        name for name, tensor in model.items() if is_floating(tensor.dtype) and not _is_statistic(name, patterns)
    )


def _is_statistic(name: str, patterns: Collection[str]) -> bool:
    if not WELL_KNOWN.isdisjoint(re.split(r"[./:]", name)):
        return True
    return any(fnmatchcase(name, pattern) for pattern in patterns)
