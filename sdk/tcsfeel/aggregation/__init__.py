"""Combine updates into the next global model: functions over arrays, the same bytes for the same updates.

`updates` says what may be aggregated; `mean` and `robust` combine updates, of which each weighs what `weights` allows;
`server` goes from the combined ones to the new model, where `statistics` lets it. All work in the blocks that `blocks`
reads, and `rules` brings a training's configuration to them. `norms` finds updates that no mean should
hold, and `measurements` combines what clients measured.
"""

from tcsfeel.aggregation.blocks import Updates
from tcsfeel.aggregation.goals import Goal
from tcsfeel.aggregation.mean import WEIGHTS
from tcsfeel.aggregation.measurements import summaries, target_doubt
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
    "summaries",
    "target_doubt",
    "update_quality",
    "usual_byzantine",
]
