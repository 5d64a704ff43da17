"""Divide the tensors of a model by the groups of its training, and put a new model together from its parts."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from app.domain.parameter_groups import ParameterGroups
from tcsfeel.aggregation import Parameters
from tcsfeel.aggregation.blocks import Block
from tcsfeel.wire.headers import Layout
from tcsfeel.wire.tasks import UNMATCHED_LOCAL

PIECE = 1 << 20  # bytes


def global_part(groups: ParameterGroups, parameters: Parameters) -> Parameters:
    """Return the tensors that model versions hold."""
    return {name: parameters[name] for name in groups.global_of(parameters)}


def trained_part(groups: ParameterGroups, parameters: Parameters) -> Parameters:
    """Return the tensors that updates hold."""
    return {name: parameters[name] for name in groups.trained_of(parameters)}


def whole_block(
    layout: Layout,
    parameters: Parameters,
    trained: Parameters,
    blocks: Iterator[Block],
    *,
    release: Callable[[], None],
) -> Iterator[memoryview]:
    """Yield the bytes of a new model in the order of its layout.

    Args:
        layout: of all tensors.
        parameters: the model before, whose frozen tensors stay as they are.
        trained: the tensors that are new, in the order of the layout.
        blocks: their new values.
        release: called now and then, so that the memory of mapped files can be given back.
    """
    for name, spec in layout.items():
        if name in trained:
            left = spec.stop - spec.start
            while left > 0:
                block = next(blocks)
                left -= block.nbytes
                yield block.view(np.uint8).data
        else:
            kept = parameters[name].reshape(-1).view(np.uint8)
            for start in range(0, len(kept), PIECE):
                yield kept[start : start + PIECE].data
                release()
    next(blocks, None)  # gives back the memory of the last blocks


def frozen_id(groups: ParameterGroups, first: str) -> str:
    """Return the name of a training's frozen tensors, which follow from the SHA-256 of its `first` model."""
    said = json.dumps([first, groups.local, groups.frozen])
    return hashlib.sha256(said.encode()).hexdigest()


def read_unmatched(metadata: Mapping[str, str]) -> list[str] | None:
    """Read the patterns of local tensors of which an agent says that they match none; None if it does not say it."""
    try:
        said = json.loads(metadata[UNMATCHED_LOCAL])
    except (KeyError, ValueError, RecursionError):
        return None
    return [one for one in said if isinstance(one, str)] if isinstance(said, list) else None
