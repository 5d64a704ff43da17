"""Weigh the updates that a round has received by what is known of their clients' labels, for the rule `balanced`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.domain.rounds import Participation, Round
from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation.balance import balanced_within_bounds
from tcsfeel.aggregation.weights import bounded
from tcsfeel.selection.skew import believable_skew
from tcsfeel.selection.types import Candidate

UNKNOWN = "as fedavg: no client of the round reports labels, and no sketch of their updates is known"


def weighed(round_: Round, config: TrainingConfig, fleet: Sequence[Candidate]) -> Round:
    """Return the round with the weight of each received update, and with what the weights go by.

    Args:
        round_: a round that waits for no update any more.
        config: may say `server_balance_penalty`, and how much one client may weigh.
        fleet: the clients whose labels together are to be balanced, each with its sketch. The labels of others are
            not known.
    """
    received = sorted((part for part in round_.participations if part.status == "received"), key=lambda p: p.client_id)
    if not received:
        return round_
    examples = bounded([float(part.num_examples or 0) for part in received], config)
    if not any(examples):
        return round_  # there is nothing to divide; the aggregation says so
    candidates = {one.client_id: one for one in fleet}
    known = [candidates.get(part.client_id) for part in received]
    reported = sum(one is not None and one.data_distribution is not None for one in known)
    sketched = sum(one is not None and one.data_distribution is None and one.sketch is not None for one in known)
    shares = examples
    if reported or sketched:
        places = {one.client_id: place for place, one in enumerate(fleet)}
        skew = believable_skew(fleet)
        own = skew[[places.get(part.client_id, 0) for part in received]]
        own[[part.client_id not in places for part in received]] = 0.0
        shares = balanced_within_bounds(examples, own, config)
    total = sum(shares)
    weights = {part.client_id: share / total for part, share in zip(received, shares, strict=True)}
    basis = _basis(reported, sketched, len(received)) if reported or sketched else UNKNOWN
    return replace(_with(round_, weights), weighting=basis)


def weights_of(received: Sequence[Participation]) -> list[float] | None:
    """Return the weights that are stored with updates; None unless each of them has one."""
    weights = [part.weight for part in received if part.weight is not None]
    return weights if weights and len(weights) == len(received) else None


def _with(round_: Round, weights: Mapping[str, float]) -> Round:
    parts = (replace(part, weight=weights.get(part.client_id)) for part in round_.participations)
    return replace(round_, participations=tuple(parts))


def _basis(reported: int, sketched: int, count: int) -> str:
    """Say in words what the weights go by."""
    kinds = [f"the labels of {_clients(reported)}"] * (reported > 0)
    kinds += [f"the sketches of {_clients(sketched)}"] * (sketched > 0)
    unknown = count - reported - sketched
    rest = f"; nothing is known of {_clients(unknown)}" if unknown else ""
    return f"balanced by {' and '.join(kinds)}{rest}"


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"
