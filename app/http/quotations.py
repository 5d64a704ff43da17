"""Hide from viewers and agents what agents have answered.

An agent can be led to a service that answers with secrets, and its answers are quoted in the reasons of failures. Those
who operate the federation need them; those who may only read it do not get them. Agents do not get them either: a
device can register the address of another service, and would read the answers of that service in its own client.
"""

from typing import Any, TypeVar

from pydantic import BaseModel

from app.domain.identity import without_quotation
from app.domain.principals import Principal
from tcsfeel.contract.selections import SkippedOut

Shown = TypeVar("Shown", bound=BaseModel)

HIDDEN = "hidden from keys with the roles viewer and agent, because it may quote an agent"

_QUOTING = {"reason", "traceback", "failure_reason", "stop_detail"}
_REACHED = {"target_accuracy", "target", "no_improvement", "max_rounds", "cancelled"}  # nothing failed


def shown_to(by: Principal, answer: Shown) -> Shown:
    """Return an answer about clients, rounds or trainings as this caller may see it."""
    return answer if by.may("operator") else _without_quotations(answer)


def _without_quotations(answer: Shown) -> Shown:
    changed: dict[str, Any] = {}
    for name in type(answer).model_fields:
        value = getattr(answer, name)
        if name == "unproven" and isinstance(value, str):
            changed[name] = without_quotation(value)
        elif name == "reason" and isinstance(answer, SkippedOut):
            changed[name] = _why_skipped(answer.reason)
        elif name in _QUOTING and isinstance(value, str):
            changed[name] = HIDDEN
        elif isinstance(value, BaseModel):
            changed[name] = _without_quotations(value)
        elif isinstance(value, list):
            changed[name] = [_without_quotations(one) if isinstance(one, BaseModel) else one for one in value]
    if getattr(answer, "stop_reason", None) in _REACHED:
        changed.pop("stop_detail", None)
    return answer.model_copy(update=changed)


def data_shown_to(by: Principal, data: dict[str, Any]) -> dict[str, Any]:
    """Return the data of an event as this caller may see them."""
    return data if by.may("operator") else {name: _unquoted(name, value) for name, value in data.items()}


def _unquoted(name: str, value: Any) -> Any:
    if isinstance(value, str):
        if name == "unproven":
            return without_quotation(value)
        return HIDDEN if name in _QUOTING else value
    if isinstance(value, dict):
        return {inner: _unquoted(inner, one) for inner, one in value.items()}
    if isinstance(value, list):
        return [_unquoted(name, one) for one in value]
    return value


def _why_skipped(reason: str) -> str:
    """Return the reason why a client was skipped without the quotation that earlier versions have stored with it."""
    if reason.startswith("unproven: "):
        return without_quotation(reason)
    return reason.partition(" (the last: ")[0]
