"""Tell the tensors that training has learnt from those that only count or measure something.

A server optimiser computes more than the mean of the updates. That has no meaning for a running variance, which must
not be negative, or for a counter: the variance becomes negative, and the next forward pass gives NaN. So statistics and
integers are averaged. They are recognised by their names: those that the frameworks give to the statistics of
normalisation layers, and the patterns that a training adds. Values cannot tell them apart: a layer's scale is learnt,
but it begins at one and may be positive in every update, just like a variance.
"""

import re
from collections.abc import Collection

from tcsfeel.aggregation.updates import Parameters, is_floating
from tcsfeel.wire.groups import matching

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
        patterns: over whole names, as in `tcsfeel.wire.groups`, for more statistics.
    """
    floating = [name for name, tensor in model.items() if is_floating(tensor.dtype)]
    named = matching(floating, patterns)
    return frozenset(name for name in floating if name not in named and not _is_well_known(name))


def _is_well_known(name: str) -> bool:
    return not WELL_KNOWN.isdisjoint(re.split(r"[./:]", name))
