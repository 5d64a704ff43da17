"""Check the mean that a relay has sent for itself and its children.

A relay is trusted no further than this: the members are clients that the round hung below it, each claims no more
examples than it can have, and the devices of those that have a key have signed their updates. Nobody but the relay
knows whether the mean is that of these updates. Like an update, it has to be finite and not too far from the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from app.domain.clients import Client
from app.domain.links import measured_cost
from app.domain.relays import groups
from app.domain.rounds import Evidence
from app.services.rounds.phase import Phase
from app.store.model_store import StoredFile, give_back
from tcsfeel.aggregation import UpdateFacts, check_examples, check_update
from tcsfeel.aggregation.norms import LONGEST, length
from tcsfeel.aggregation.partials import mean_dtype
from tcsfeel.aggregation.updates import Parameters, is_floating
from tcsfeel.errors import UpdateRejected
from tcsfeel.wire.codec import Packed, unpack
from tcsfeel.wire.digests import written_digest
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.headers import LENGTH, MAX_HEADER_BYTES
from tcsfeel.wire.relays import Member, Partial, read_partial
from tcsfeel.wire.signatures import SIGNATURE, SIGNATURE_INPUT, WrongSignature, check_answer, result_components
from tcsfeel.wire.sizes import AnswerSize, fit_size
from tcsfeel.wire.tasks import TaskResult, read_encoding, read_result, task_id

_DIGEST = 64  # characters
_ROUNDING = 1e-4  # of the range of a dtype, by which a mean may be beyond it
_MEMBER_BYTES = 1 << 13  # of the JSON of one member: 32 metrics, two signed texts, and a reason
_VALUE_BYTES = 8  # of a value of a mean, at most


class MemberGone(UpdateRejected):
    """A mean has the update of a client that takes part no more, for which its relay is not to blame."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a relay.

    Attributes:
        result: what the relay reports of its own update.
        partial: whose updates are in it.
        norm: how far it is from the model.
        evidence: the signatures of members whose devices have a key, by client.
        links: what the relay has measured of its links to the members, in s/MB.
    """

    result: TaskResult
    partial: Partial
    norm: float
    evidence: Mapping[str, Evidence]
    links: Mapping[str, float]


def partial_size(model: Packed, members: int) -> AnswerSize:
    """Return the limit of a relay's answer: its mean may have wider values than the model, and names its members."""
    size = fit_size(model)
    header_bytes = min(MAX_HEADER_BYTES, size.header_bytes + members * _MEMBER_BYTES)
    values = sum(_VALUE_BYTES * prod(spec.shape) for spec in model.layout.values())
    return AnswerSize(header_bytes, LENGTH.size + header_bytes + max(values, len(model.block)))


def checked_mean(phase: Phase, relay: Client, children: Mapping[str, Client], file: StoredFile) -> Mean | None:
    """Check the answer of a relay. None if it is the update of the relay alone. It blocks.

    Raises:
        MemberGone: it has the update of a client that was below the relay, and is not among its `children` any more.
        UpdateRejected: it is not what a relay may answer.
    """
    base = phase.model
    size = partial_size(base, len(children) + 1)
    try:
        sent, metadata = unpack(phase.place(relay.id).map(file.sha256), size.header_bytes, like=base)
        partial = read_partial(metadata)
        if partial is None:
            return None
        result = read_result(metadata)
        if (encoding := read_encoding(metadata).name) != "full":
            raise UpdateRejected(f"its mean is encoded as {encoding}, which was not offered")
    except WireError as error:
        raise UpdateRejected(str(error)) from error
    evidence = _check_members(phase, relay, children, partial)
    mean, model = sent.parameters(), base.parameters()
    facts = UpdateFacts(num_examples=result.num_examples, loss=result.loss, metrics=result.metrics)

    def release() -> None:
        give_back(sent.block, base.block)

    check_update(mean, model, facts, relay.profile.data_size, release=release, dtype_of=mean_dtype)
    _check_range(mean, model, release=release)
    links = {
        member.client_id: cost
        for member in partial.members
        if member.client_id in children and (cost := measured_cost(member.seconds, len(base.block))) is not None
    }
    return Mean(result, partial, _partial_norm(mean, model, release=release), evidence, links)


def _check_members(
    phase: Phase, relay: Client, children: Mapping[str, Client], partial: Partial
) -> dict[str, Evidence]:
    """Check what a relay says of the members of its mean. Returns the signatures of their devices."""
    known, planned = {**children, relay.id: relay}, groups(phase.round_).get(relay.id, ())
    evidence, seen = {}, set[str]()
    for member in partial.members:
        client = known.get(member.client_id)
        if client is None and member.client_id in planned:
            raise MemberGone(f"its mean has the update of {member.client_id!r}, which does not take part any more")
        if client is None:
            raise UpdateRejected(f"its mean has an update of {member.client_id!r}, which is not below it")
        if member.client_id in seen:
            raise UpdateRejected(f"its mean has the update of {member.client_id!r} twice")
        seen.add(member.client_id)
        try:
            check_examples(member.result.num_examples, client.profile.data_size)
            if client is not relay and client.public_key is not None:
                evidence[client.id] = _evidence(phase, client, client.public_key, member)
        except (UpdateRejected, WrongSignature, ValueError) as error:
            raise UpdateRejected(f"the update of {member.client_id!r} in its mean: {error}") from error
    if relay.id not in seen:
        raise UpdateRejected("its mean does not have its own update")
    return evidence


def _evidence(phase: Phase, client: Client, key: str, member: Member) -> Evidence:
    """Return the signature of the device of a member over its update. Raises `WrongSignature`, ValueError."""
    if len(member.digest) != _DIGEST:
        raise WrongSignature("it has no digest, so nothing tells what its device has signed")
    task = task_id(phase.round_.training_id, phase.round_.number, client.id, "fit")
    components = result_components(f"/tasks/{task}", written_digest(bytes.fromhex(member.digest)))
    headers = {SIGNATURE_INPUT: member.signature_input, SIGNATURE: member.signature}
    signed = check_answer(headers, components, key=key)
    return Evidence(call="", answer=signed.base, signature=signed.written)


def _check_range(mean: Parameters, model: Parameters, *, release: Callable[[], None]) -> None:
    """Raise `UpdateRejected` if a mean has values that the model's dtypes cannot have, so that no update has them.

    The mean of a relay has a wider dtype. A float16 beyond its range would make the whole new model infinite.
    """
    for name, tensor in model.items():
        if (limits := _limits(tensor.dtype)) is None or not tensor.size:
            continue
        least, most = limits
        room = _ROUNDING * max(-least, most)
        for value in (float(mean[name].min()), float(mean[name].max())):
            if not least - room <= value <= most + room:
                raise UpdateRejected(f"tensor {name!r} holds values that {tensor.dtype} cannot have: {value:.6g}")
        release()


def _limits(dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Return the least and the largest value of a dtype; None if updates are checked for these otherwise."""
    if dtype.kind == "b":
        return 0.0, 1.0
    if np.issubdtype(dtype, np.integer):
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return (float(np.finfo(dtype).min), float(np.finfo(dtype).max)) if dtype == np.float16 else None


def _partial_norm(mean: Parameters, model: Parameters, *, release: Callable[[], None]) -> float:
    """Return how far a mean is from the model, over all tensors that are floating-point numbers in the model.

    Raises:
        UpdateRejected: it is too far.
    """
    learnt = {name: mean[name] for name, tensor in model.items() if is_floating(tensor.dtype)}
    norm = length(learnt, model, release=release)
    if not norm <= LONGEST:
        raise UpdateRejected(f"its mean is too far from the model: by {norm:.3g}, at most {LONGEST:.3g} is allowed")
    return norm
