"""Turn a trainer's result into the bytes of an answer, or into a message that says what its author must change."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tcsfeel.agent.errors import BrokenResult
from tcsfeel.agent.trainer import EvaluateResult, FitResult
from tcsfeel.wire.bfloat16 import is_bfloat16
from tcsfeel.wire.codec import Packed, Parameters, pack
from tcsfeel.wire.differences import encode_update
from tcsfeel.wire.records import WrongField
from tcsfeel.wire.tasks import NOTHING_HELD_OUT, EncodingName, TaskResult, result_metadata

Payload = tuple[bytes, memoryview]

NOTHING: Parameters = {}
_NO_TENSORS = Packed({}, memoryview(b""))


@dataclass(frozen=True, slots=True)
class Update:
    """A fit result: its header and block.

    Attributes:
        lost: what rounding lost of it; None if it is sent in full.
        local: the new values of the tensors that stay here.
        trained: the new values of the tensors that the update holds, in the types that came.
        result: what is reported with it; None if it is not of a fit.
    """

    payload: Payload
    lost: Parameters | None = None
    local: Parameters = field(default_factory=dict)
    trained: Parameters = field(default_factory=dict)
    result: TaskResult | None = None


def fitted(
    result: object,
    received: Parameters,
    seconds: float,
    encoding: EncodingName = "full",
    lost: Parameters = NOTHING,
    *,
    local: Parameters = NOTHING,
    frozen: Parameters = NOTHING,
    partial: bool = False,
) -> Update:
    """Make the update to send from a fit result.

    Args:
        result: the result that the trainer returned.
        received: the tensors that the update has to hold.
        seconds: how long it trained.
        encoding: the encoding of the update. If it is not possible, the update is sent in full.
        lost: what rounding lost of the training's previous update.
        local: the other tensors that the trainer was given and has to return.
        frozen: those that it may return as well; they are ignored.
        partial: whether the task takes a part of the work.

    Raises:
        BrokenResult: it is not a `FitResult`, its tensors differ from the received ones, numbers are out of range, it
            is a part that the task does not take, or a local tensor is not finite, which later tasks would begin with.
    """
    if not isinstance(result, FitResult):
        raise BrokenResult(f"fit must return a FitResult, not {type(result).__name__}")
    asked = None if result.asked_steps == result.num_steps else result.asked_steps
    if asked is not None and not partial:
        raise BrokenResult("this task does not take a part of its work: let fit go on while seconds_left() is inf")
    measured = _measured(result, seconds, result.num_steps, asked)
    own = {name: array for name, array in result.parameters.items() if name in local}
    kept = _as_received(own, local)
    _check_finite(kept)
    sent = {name: array for name, array in result.parameters.items() if name not in local and name not in frozen}
    update = _as_received(sent, received)
    encoded = None if encoding == "full" else encode_update(update, received, encoding, lost)
    if encoded is None:
        return Update(pack(update).payload(result_metadata(measured)), local=kept, trained=update, result=measured)
    payload = pack(encoded.parameters).payload(result_metadata(measured, encoded.encoding))
    return Update(payload, encoded.lost, kept, update, measured)


def nothing_held_out() -> Payload:
    """Make the answer of an agent that has no examples to measure with."""
    return _NO_TENSORS.payload(NOTHING_HELD_OUT)


def evaluate_payload(result: object, seconds: float) -> Payload:
    """Make the header of an evaluation result, which has no block. Raises the same errors as `fitted`."""
    if not isinstance(result, EvaluateResult):
        raise BrokenResult(f"evaluate must return an EvaluateResult, not {type(result).__name__}")
    if result.num_examples == 0:
        return nothing_held_out()
    return _NO_TENSORS.payload(result_metadata(_measured(result, seconds)))


def _measured(
    result: FitResult | EvaluateResult, seconds: float, steps: int | None = None, asked: int | None = None
) -> TaskResult:
    try:
        return TaskResult(
            num_examples=int(result.num_examples),
            loss=float(result.loss),
            accuracy=None if result.accuracy is None else float(result.accuracy),
            metrics=_numbers(result.metrics),
            train_seconds=seconds,
            num_steps=None if steps is None else int(steps),
            partial=asked is not None,
            asked_steps=None if asked is None else int(asked),
        )
    except WrongField as error:
        shown = str(error) if error.value is None else f"{error.place} is {error.value!r}: it {error.rule}"
        raise BrokenResult(shown) from error


def _numbers(metrics: object) -> dict[str, float]:
    """The metrics as plain floats: frameworks give scalars of their own."""
    if not isinstance(metrics, Mapping):
        raise BrokenResult(f"metrics should be a mapping from names to numbers, not {type(metrics).__name__}")
    found = {}
    for name, number in metrics.items():
        try:
            found[name] = float(number)
        except (TypeError, ValueError):
            raise BrokenResult(f"metrics.{name} is a {type(number).__name__}: it should be a number") from None
    return found


def _check_finite(local: Parameters) -> None:
    for name, array in local.items():
        if (array.dtype.kind == "f" or is_bfloat16(array.dtype)) and not np.isfinite(array).all():
            raise BrokenResult(f"local tensor {name!r} holds values that are not finite")


def _as_received(returned: Parameters, received: Parameters) -> Parameters:
    missing, added = received.keys() - returned.keys(), returned.keys() - received.keys()
    if missing or added:
        lacks = [f"these are missing: {', '.join(sorted(missing))}"] if missing else []
        holds = [f"these were not received: {', '.join(sorted(added))}"] if added else []
        raise BrokenResult(
            f"the parameters returned have other tensors than those received; {'; '.join(lacks + holds)}"
        )
    cast = {}
    for name, target in received.items():
        array = returned[name]
        if not isinstance(array, np.ndarray | np.generic):
            raise BrokenResult(f"tensor {name!r} must be a numpy array, not a {type(array).__name__}")
        if array.shape != target.shape:
            raise BrokenResult(f"tensor {name!r} came as {target.shape} and went back as {array.shape}")
        try:
            cast[name] = array.astype(target.dtype, casting="same_kind", copy=False)
        except TypeError as error:
            raise BrokenResult(f"tensor {name!r} came as {target.dtype} and went back as {array.dtype}") from error
    return cast
