"""Combine updates into the next global model, with functions over arrays. The same updates always give the same bytes.

`updates` checks updates before they are aggregated. `mean` and `robust` combine them, and `weights` limits the weight
of each. `server` makes the new model from the combined updates, and leaves out the tensors that `statistics` names. All
of these work in the blocks that `blocks` reads, and `rules` applies a training's configuration. `norms` finds updates
that are too large for a mean.
"""

from tcsfeel.aggregation.blocks import Updates
from tcsfeel.aggregation.goals import Goal
from tcsfeel.aggregation.mean import WEIGHTS
from tcsfeel.aggregation.norms import check_norm, length, longest, outliers
from tcsfeel.aggregation.robust import shortage, usual_byzantine
from tcsfeel.aggregation.rules import ROBUST, NextModel, next_model
from tcsfeel.aggregation.updates import (
    Parameters,
    UpdateFacts,
    check_examples,
    check_model,
    check_update,
    check_weighable,
    update_quality,
)

__all__ = [
    "ROBUST",
    "WEIGHTS",
    "Goal",
    "NextModel",
    "Parameters",
    "UpdateFacts",
    "Updates",
    "check_examples",
    "check_model",
    "check_norm",
    "check_update",
    "check_weighable",
    "length",
    "longest",
    "next_model",
    "outliers",
    "shortage",
    "update_quality",
    "usual_byzantine",
]
