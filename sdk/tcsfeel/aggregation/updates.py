"""Check whether an update is fit to be aggregated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.errors import Invalid, UpdateRejected
from tcsfeel.wire.bfloat16 import is_bfloat16
from tcsfeel.wire.tasks import ACCURACY, LOSS

Parameters = Mapping[str, npt.NDArray[Any]]

PLAUSIBLE_FACTOR = 1.5  # more examples than this many times the registered data size are not believed

NEED_STEPS = frozenset({"fednova", "scaffold"})  # rules

_CHECKED_BYTES = 1 << 20  # of a tensor, at a time


@dataclass(frozen=True, slots=True)
class UpdateFacts:
    """The numbers that an agent reports with its tensors.

    Attributes:
        num_examples: at least 1 with an update.
        loss: the mean loss.
        metrics: other measurements by name; the accuracy (0..1) is one of them, if it is known.
        num_steps: how many local steps the update took, at least 1; None if it is not known.
    """

    num_examples: int
    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    num_steps: int | None = None

    def value_of(self, metric: str) -> float | None:
        """Return the value of a metric, which may be the loss, or None if it was not measured."""
        return self.loss if metric == LOSS else self.metrics.get(metric)


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Tell whether values are floating-point numbers; numpy itself does not count bfloat16 among them."""
    return dtype.kind == "f" or is_bfloat16(dtype)


def as_it_is(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the same dtype: an update has those of the model."""
    return dtype


def check_model(parameters: Parameters) -> None:
    """Raise `Invalid` unless `parameters` can be a training's first model: some tensor, and every value finite."""
    if not parameters:
        raise Invalid("", "the file holds no tensor")
    for name, tensor in parameters.items():
        if not _is_finite(tensor):
            pointer = name.replace("~", "~0").replace("/", "~1")
            raise Invalid(f"/{pointer}", f"tensor {name!r} holds values that are not finite")


def check_examples(num_examples: int, data_size: int) -> None:
    """Raise `UpdateRejected` if a client of `data_size` samples claims more examples than it can have."""
    if num_examples > PLAUSIBLE_FACTOR * data_size:
        raise UpdateRejected(
            f"num_examples is not plausible: {num_examples} is more than {PLAUSIBLE_FACTOR} x data_size {data_size}"
        )


def check_weighable(facts: UpdateFacts, aggregation: str) -> None:
    """Raise `UpdateRejected` if the rule needs a number that this update does not come with."""
    if aggregation in NEED_STEPS and facts.num_steps is None:
        raise UpdateRejected(
            f"its result has no num_steps, by which the aggregation rule {aggregation!r} divides updates;"
            " let the trainer report the number of its local steps, or choose another rule"
        )
    if aggregation == "weighted" and ACCURACY not in facts.metrics:
        raise UpdateRejected(
            "its result has no accuracy, by which the aggregation rule 'weighted' weighs updates;"
            " let the trainer report one, or choose another rule"
        )


def check_update(
    update: Parameters,
    model: Parameters,
    facts: UpdateFacts,
    data_size: int,
    *,
    release: Callable[[], None] = lambda: None,
    dtype_of: Callable[[np.dtype[Any]], np.dtype[Any]] = as_it_is,
) -> None:
    """Raise `UpdateRejected` unless `update` may be averaged into `model`.

    Names, shapes and dtypes must be the model's, every value finite, and the number of examples plausible for a client
    that registered `data_size` samples. `release` is called between blocks, so that the memory of a mapped file can be
    given back. `dtype_of` returns the dtype that the update has to have for one of the model; the mean of a relay has
    that of `partials.mean_dtype`.
    """
    check_examples(facts.num_examples, data_size)
    if update.keys() != model.keys():
        missing, extra = sorted(model.keys() - update.keys()), sorted(update.keys() - model.keys())
        raise UpdateRejected(f"its tensors are not the model's: missing {missing[:3]}, unknown {extra[:3]}")
    for name, tensor in model.items():
        got = update[name]
        if got.shape != tensor.shape or got.dtype != dtype_of(tensor.dtype):
            raise UpdateRejected(
                f"tensor {name!r} is {got.dtype}{list(got.shape)}, the model's is {tensor.dtype}{list(tensor.shape)}"
            )
    for name, tensor in update.items():
        if not _is_finite(tensor, release):
            raise UpdateRejected(f"tensor {name!r} holds values that are not finite")


def _is_finite(tensor: npt.NDArray[Any], release: Callable[[], None] = lambda: None) -> bool:
    if not is_floating(tensor.dtype):
        return True
    flat, size = tensor.ravel(), _CHECKED_BYTES // tensor.itemsize
    for start in range(0, len(flat), size):
        if not np.isfinite(flat[start : start + size]).all():
            return False
        release()
    return True


def update_quality(loss: float) -> float:
    """Return the quality in 0..1 of an update with this mean loss: exp(-loss), a negative loss counts as 0."""
    return float(np.exp(-max(loss, 0.0)))
