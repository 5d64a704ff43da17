"""How updates become the next global model: free functions over arrays, deterministic for a given order of updates.

An update's weight depends on the rule; the mean is taken in float64, one update in memory at a time, and stored in
the model's own dtypes. Server momentum (Hsu, Qi, Brown, "Measuring the effects of non-identical data distribution for
federated visual classification", 2019) needs no state of its own: its buffer is the last step that the model took,

    w_next = w + eta * (mean - w) + beta * (w - w_before).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.domain.errors import Invalid, UnusableRound, UpdateRejected
from app.domain.trainings import Aggregation, TrainingConfig

Parameters = Mapping[str, npt.NDArray[Any]]

PLAUSIBLE_FACTOR = 10  # more examples than this many times the registered data size are not believed
SERVER_MOMENTUM = 0.9


@dataclass(frozen=True, slots=True)
class UpdateFacts:
    """What an agent reports with its update: examples (at least 1), mean loss, accuracy (0..1)."""

    num_examples: int
    loss: float
    accuracy: float


def by_examples(update: UpdateFacts) -> float:
    """FedAvg (McMahan et al., 2017): as many votes as examples."""
    return float(update.num_examples)


def by_examples_and_accuracy(update: UpdateFacts) -> float:
    """Examples times accuracy: an update that learned nothing counts nothing."""
    return update.num_examples * update.accuracy


# FedProx (Li et al., 2020) differs from FedAvg in the trainer's loss alone: `proximal_mu` is handed to it.
WEIGHTS: Mapping[Aggregation, Callable[[UpdateFacts], float]] = {
    "fedavg": by_examples,
    "fedprox": by_examples,
    "fedavgm": by_examples,
    "weighted": by_examples_and_accuracy,
}


def check_model(parameters: Parameters) -> None:
    """Raise `Invalid` unless `parameters` can be a training's first model: some tensor, and every value finite."""
    if not parameters:
        raise Invalid("", "the file holds no tensor")
    for name, tensor in parameters.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            pointer = name.replace("~", "~0").replace("/", "~1")
            raise Invalid(f"/{pointer}", f"tensor {name!r} holds values that are not finite")


def check_examples(num_examples: int, data_size: int) -> None:
    """Raise `UpdateRejected` where a client of `data_size` samples speaks for more than it can have."""
    if num_examples > PLAUSIBLE_FACTOR * data_size:
        raise UpdateRejected(f"num_examples is not plausible: more than {PLAUSIBLE_FACTOR} x data_size {data_size}")


def check_update(update: Parameters, model: Parameters, facts: UpdateFacts, data_size: int) -> None:
    """Raise `UpdateRejected` unless `update` may be averaged into `model`.

    Names, shapes and dtypes must be the model's, every value finite, and the number of examples plausible for a client
    that registered `data_size` samples.
    """
    if update.keys() != model.keys():
        missing, extra = sorted(model.keys() - update.keys()), sorted(update.keys() - model.keys())
        raise UpdateRejected(f"its tensors are not the model's: missing {missing[:3]}, unknown {extra[:3]}")
    for name, tensor in model.items():
        got = update[name]
        if got.shape != tensor.shape or got.dtype != tensor.dtype:
            raise UpdateRejected(
                f"tensor {name!r} is {got.dtype}{list(got.shape)}, the model's is {tensor.dtype}{list(tensor.shape)}"
            )
        if got.dtype.kind == "f" and not np.isfinite(got).all():
            raise UpdateRejected(f"tensor {name!r} holds values that are not finite")
    check_examples(facts.num_examples, data_size)


def weighted_mean(model: Parameters, updates: Iterable[tuple[Parameters, float]]) -> dict[str, npt.NDArray[np.float64]]:
    """The weighted mean of `updates` (each with the tensors of `model`) in float64.

    Raises:
        UnusableRound: there is no update, or no weight above zero.
    """
    total = 0.0
    sums = {name: np.zeros(tensor.shape, np.float64) for name, tensor in model.items()}
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by `next_model`
        for parameters, weight in updates:
            total += weight
            for name in sums:
                sums[name] += weight * parameters[name].astype(np.float64)
    if total <= 0:
        raise UnusableRound("the updates' weights add up to zero")
    return {name: accumulated / total for name, accumulated in sums.items()}


def next_model(
    config: TrainingConfig, model: Parameters, before: Parameters | None, mean: Mapping[str, npt.NDArray[np.float64]]
) -> dict[str, npt.NDArray[Any]]:
    """The new global model, in the dtypes of `model`.

    Args:
        config: `fedavgm` takes ``server_learning_rate`` (1.0) and ``server_momentum`` (0.9) from its hyperparameters;
            every other rule takes the mean as it is.
        model: the round's base model.
        before: the model before that, None in the first round.
        mean: the updates' weighted mean.

    Raises:
        UnusableRound: a value of the new model is not finite.
    """
    if config.aggregation == "fedavgm":
        rate = config.hyperparameter("server_learning_rate", 1.0)
        momentum = config.hyperparameter("server_momentum", SERVER_MOMENTUM)
        mean = {
            name: _momentum_step(model[name], model[name] if before is None else before[name], value, rate, momentum)
            for name, value in mean.items()
        }
    return {name: _as_dtype(name, value, model[name].dtype) for name, value in mean.items()}


def _momentum_step(
    current: npt.NDArray[Any], before: npt.NDArray[Any], mean: npt.NDArray[np.float64], rate: float, momentum: float
) -> npt.NDArray[np.float64]:
    now, past = current.astype(np.float64), before.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        step: npt.NDArray[np.float64] = rate * (mean - now) + momentum * (now - past)
        return now + step


def _as_dtype(name: str, value: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """`value` in the model's dtype: integers are the nearest that the dtype holds, a bool is a majority's."""
    with np.errstate(over="ignore"):
        cast = value.astype(dtype) if dtype.kind == "f" else value
    if not np.isfinite(cast).all():
        raise UnusableRound(f"tensor {name!r} of the new model is not finite")
    if dtype.kind == "b":
        return value > 1 / 2
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        # float64 has no 2^63 - 1: as a bound it would be 2^63, which overflows
        top = float(limits.max) if int(float(limits.max)) <= limits.max else np.nextafter(float(limits.max), 0.0)
        return np.clip(np.rint(value), float(limits.min), top).astype(dtype)
    return cast


def mean_by_examples(measured: Iterable[UpdateFacts]) -> tuple[float, float] | None:
    """Accuracy and loss over everything that was measured, each client counted by its examples; None of nothing."""
    results = list(measured)
    examples = sum(result.num_examples for result in results)
    if examples == 0:
        return None
    accuracy = sum(result.num_examples * result.accuracy for result in results) / examples
    return accuracy, sum(result.num_examples * result.loss for result in results) / examples


def update_quality(loss: float) -> float:
    """Quality in 0..1 of an update with this mean training loss: exp(-loss), a negative loss counts as 0."""
    return float(np.exp(-max(loss, 0.0)))
