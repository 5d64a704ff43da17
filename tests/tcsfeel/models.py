"""Models as the aggregation gives them, put together again."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.aggregation import NextModel, Parameters


def assembled(new: NextModel, model: Parameters) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a new model, in the shapes of the one before it."""
    blocks = list(new.blocks)
    result: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in model.items():
        parts: list[npt.NDArray[Any]] = []
        while sum(map(len, parts)) < tensor.size:
            parts.append(blocks.pop(0))
        result[name] = np.concatenate(parts).reshape(tensor.shape) if parts else np.empty_like(tensor)
    assert not blocks
    return result
