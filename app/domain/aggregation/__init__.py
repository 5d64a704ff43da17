"""How updates become the next global model: functions over arrays, the same bytes for the same updates.

`updates` says what may be aggregated; `mean` and `robust` combine updates, `server` goes from the combined ones to the
new model, both in the blocks that `blocks` reads; `rules` brings a training's configuration to them.
"""

from app.domain.aggregation.blocks import Updates
from app.domain.aggregation.mean import WEIGHTS
from app.domain.aggregation.robust import BYZANTINE_CLIENTS, shortage
from app.domain.aggregation.rules import ROBUST, NextModel, next_model
from app.domain.aggregation.updates import (
    Parameters,
    UpdateFacts,
    check_examples,
    check_model,
    check_update,
    mean_by_examples,
    update_quality,
)

__all__ = [
    "BYZANTINE_CLIENTS",
    "ROBUST",
    "WEIGHTS",
    "NextModel",
    "Parameters",
    "UpdateFacts",
    "Updates",
    "check_examples",
    "check_model",
    "check_update",
    "mean_by_examples",
    "next_model",
    "shortage",
    "update_quality",
]
