"""Weigh the updates that a round has received before they are aggregated, where their examples alone do not decide.

The rule `balanced` weighs them by what is known of their clients' labels. An update of a carried task has a smaller
weight, the older the model is from which it began. So has a partial update, the fewer of its steps were taken, unless
the rule goes by the steps itself: FedNova divides each update by them, and SCAFFOLD weighs all clients the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

from app.domain.balance import balanced_within_bounds
from app.domain.carrying import discount
from app.domain.measurements import reported
from app.domain.relays import by_file
from app.domain.rounds import Participation, Round
from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation.mean import WEIGHTS
from tcsfeel.aggregation.updates import NEED_STEPS
from tcsfeel.aggregation.weights import bounded
from tcsfeel.selection.candidates import Candidates
from tcsfeel.selection.claims import believed
from tcsfeel.selection.labels import read_labels
from tcsfeel.selection.skew import Floats, sample_shares, skew_of
from tcsfeel.selection.types import Candidate, History, SelectionPolicy

AS_USUAL = "as the rule weighs them"
BY_STALENESS = ", times 1/sqrt(1 + staleness)"
BY_STEPS = ", times num_steps/asked_steps"
STALE_TOO = "; before that, the examples of a stale update are multiplied by 1/sqrt(1 + staleness)"
PARTIAL_TOO = "; before that, the examples of a partial update are multiplied by num_steps/asked_steps"
UNKNOWN = "as fedavg: no client of the round reports labels, and no sketch of their updates is known"


def weighed(round_: Round, config: TrainingConfig, fleet: Sequence[Candidate]) -> Round:
    """Return the round with the weight of each received update, and with what the weights go by.

    Args:
        round_: a round that waits for no update any more.
        config: may say `server_balance_penalty`, and how much one client may weigh.
        fleet: the clients whose labels together are to be balanced, each with its sketch. The labels of others are
            not known.
    """
    files = by_file(round_)
    received = sorted(chain.from_iterable(files), key=lambda part: part.client_id)
    if not received:
        return round_
    examples = [float(part.num_examples or 0) * _factor(part, config) for part in received]
    if not any(examples):
        return round_  # there is nothing to divide; the aggregation says so
    candidates = {one.client_id: one for one in fleet}
    known = [candidates.get(part.client_id) for part in received]
    reported = sum(one is not None and one.data_distribution is not None for one in known)
    sketched = sum(one is not None and one.data_distribution is None and one.sketch is not None for one in known)
    if reported or sketched:
        places = {one.client_id: place for place, one in enumerate(fleet)}
        skew = believable_skew(fleet)
        own = skew[[places.get(part.client_id, 0) for part in received]]
        own[[part.client_id not in places for part in received]] = 0.0
        place_of = {part.client_id: number for number, members in enumerate(files) for part in members}
        shares = balanced_within_bounds(examples, own, config, [place_of[part.client_id] for part in received])
        basis = _basis(reported, sketched, len(received))
    else:
        shares, basis = bounded(examples, config), UNKNOWN
    total = sum(shares)
    weights = {part.client_id: share / total for part, share in zip(received, shares, strict=True)}
    if any(part.staleness for part in received):
        basis += STALE_TOO
    if any(part.asked_steps for part in received):
        basis += PARTIAL_TOO
    return replace(_with(round_, weights), weighting=basis)


def discounted(round_: Round, config: TrainingConfig) -> Round:
    """Return the round with the weight of each received update, as its rule, its staleness and its steps make it.

    A round is returned as it is if no update is stale or has a smaller weight for its steps, or if none has a weight.

    Args:
        round_: a round that waits for no update any more; if it has stale or partial updates, then without relays, and
            its rule is a weighted mean.
        config: of its training; it may say how much one client may weigh.
    """
    received = [part for part in round_.participations if part.status == "received"]
    factors = [_factor(part, config) for part in received]
    if all(factor == 1.0 for factor in factors):
        return round_
    weigh = WEIGHTS[config.aggregation]
    shares = bounded([weigh(reported(part)) * factor for part, factor in zip(received, factors, strict=True)], config)
    total = math.fsum(shares)
    if total <= 0.0:
        return round_  # there is nothing to divide; the aggregation says so
    weights = {part.client_id: share / total for part, share in zip(received, shares, strict=True)}
    basis = AS_USUAL
    if any(part.staleness for part in received):
        basis += BY_STALENESS
    if any(_steps_share(part, config) < 1.0 for part in received):
        basis += BY_STEPS
    return replace(_with(round_, weights), weighting=basis)


def weights_of(round_: Round) -> list[float] | None:
    """Return the weight of each file of a round, from those stored with its updates; None unless all have one."""
    found = []
    for members in by_file(round_):
        weights = [part.weight for part in members if part.weight is not None]
        if len(weights) < len(members):
            return None
        found.append(math.fsum(weights))
    return found or None


def _factor(part: Participation, config: TrainingConfig) -> float:
    """Return the factor, in (0, 1], of the weight of an update that may be stale, or partial."""
    return discount(part.staleness) * _steps_share(part, config)


def _steps_share(part: Participation, config: TrainingConfig) -> float:
    return 1.0 if config.aggregation in NEED_STEPS else part.share


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


def believable_skew(candidates: Sequence[Candidate]) -> Floats:
    """Return the differences (N, C), where a claim of far more samples than is usual does not count (`claims`)."""
    taken = Candidates.of(believed(candidates, History(), SelectionPolicy()).candidates)
    samples = sample_shares(taken.columns.data_size)
    labels = read_labels([one.data_distribution for one in taken], samples)
    return skew_of(labels, taken.sketches, samples)
