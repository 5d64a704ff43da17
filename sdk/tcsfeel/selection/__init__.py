"""Select the clients that take part in a round, with strategies that share one interface."""

from tcsfeel.selection.parameters import Parameter, parameters_of, tunable, unfit
from tcsfeel.selection.registry import STRATEGIES, Installed, installed, select, strategies
from tcsfeel.selection.types import (
    Candidate,
    Chosen,
    History,
    Plan,
    Selection,
    SelectionPolicy,
    Skipped,
    Strategy,
    Weights,
)

__all__ = [
    "STRATEGIES",
    "Candidate",
    "Chosen",
    "History",
    "Installed",
    "Parameter",
    "Plan",
    "Selection",
    "SelectionPolicy",
    "Skipped",
    "Strategy",
    "Weights",
    "installed",
    "parameters_of",
    "select",
    "strategies",
    "tunable",
    "unfit",
]
