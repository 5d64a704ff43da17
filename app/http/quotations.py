"""Hide from viewers what agents have answered.

An agent can be led to a service that answers with secrets, and its answers are quoted in the reasons of failures. Those
who operate the federation need them; those who may only read it do not get them.
"""

from typing import Any, TypeVar

from pydantic import BaseModel

from app.domain.principals import Principal

Shown = TypeVar("Shown", bound=BaseModel)

HIDDEN = "hidden from keys with the role viewer, because it may quote an agent"

_QUOTING = {"reason", "traceback", "failure_reason", "stop_detail", "cause"}
_REACHED = {"target_accuracy", "target", "no_improvement", "max_rounds", "cancelled"}  # nothing failed


def shown_to(by: Principal, answer: Shown) -> Shown:
    """Return an answer about clients, rounds or trainings as this caller may see it."""
    return _without_quotations(answer) if by.role == "viewer" else answer


def _without_quotations(answer: Shown) -> Shown:
    changed: dict[str, Any] = {}
    for name in type(answer).model_fields:
        value = getattr(answer, name)
        if name in _QUOTING and isinstance(value, str):
            changed[name] = HIDDEN
        elif isinstance(value, BaseModel):
            changed[name] = _without_quotations(value)
        elif isinstance(value, list):
            changed[name] = [_without_quotations(one) if isinstance(one, BaseModel) else one for one in value]
    if getattr(answer, "stop_reason", None) in _REACHED:
        changed.pop("stop_detail", None)
    return answer.model_copy(update=changed)
