"""Refuse trainings over relay trees that relays cannot do, each with the reason."""

from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.partials import NEEDS_EACH
from tcsfeel.contract.fields import wrong_fields


def check_relays(aggregation: Aggregation, *, shortens: bool, smaller: bool, frozen: bool) -> None:
    """Raise the error of the field `topology` if relays cannot be used with the other fields of a training.

    Args:
        aggregation: its rule.
        shortens: whether the server shortens updates (`server_clip_norm`).
        smaller: whether it asks for smaller uploads.
        frozen: whether some tensors never change, and travel only once.
    """
    reasons = []
    if (reason := NEEDS_EACH.get(aggregation)) is not None:
        reasons.append(f"with the aggregation rule {aggregation}, because {reason}")
    if shortens:
        reasons.append("with server_clip_norm, because the server cannot shorten updates inside a relay's mean")
    if smaller:
        reasons.append("with smaller uploads, because relays average updates in full")
    if frozen:
        reasons.append("with frozen tensors, because the server sends these to each client that lacks them")
    if reasons:
        raise wrong_fields([(("topology",), f"cannot be relay {reason}") for reason in reasons])
