"""Which clients take part in a round: strategies with one interface, and what they have in common."""

from app.domain.selection.parameters import Parameter, parameters_of, tunable
from app.domain.selection.registry import STRATEGIES, select, strategies
from app.domain.selection.types import (
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
    "Parameter",
    "Plan",
    "Selection",
    "SelectionPolicy",
    "Skipped",
    "Strategy",
    "Weights",
    "parameters_of",
    "select",
    "strategies",
    "tunable",
]
