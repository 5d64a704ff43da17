"""The interfaces that the author of a trainer implements, and the values that a trainer returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, SupportsFloat, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from tcsfeel.wire.codec import Parameters
from tcsfeel.wire.tasks import Task

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class FitResult:
    """The outcome of local training.

    Attributes:
        parameters: names and shapes as received. A dtype that differs is cast back where that keeps the kind
            (float64 to float32), so a framework that computes wider needs no care.
        num_examples: how many examples the update stands for, at least 1; its weight in the average.
        loss: mean loss over the local data; finite.
        accuracy: fraction 0..1 on local data; None where the model does not classify.
        metrics: what else was measured, by name, as finite numbers; at most 32. ``metrics={"accuracy": 0.9}`` says the
            same as ``accuracy=0.9``.
        num_steps: how many steps of gradient descent the training took, at least 1. Trainings with FedNova need it.
        asked_steps: how many the whole task has, if `seconds_left` were over before; the update then counts for less.
    """

    parameters: Parameters
    num_examples: int
    loss: float
    accuracy: float | None = None
    metrics: Mapping[str, SupportsFloat] = field(default_factory=dict)
    num_steps: int | None = None
    asked_steps: int | None = None


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """The result of an evaluation of parameters on local held-out data. Units are those of `FitResult`.

    0 examples mean that there is no such data; the other fields then do not matter.
    """

    num_examples: int
    loss: float
    accuracy: float | None = None
    metrics: Mapping[str, SupportsFloat] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """The claims that an agent registers. The control plane replaces them by its measurements over time.

    Attributes:
        data_size: training samples, at least 1.
        data_distribution: label counts or shares, by position or by label; None keeps them private.
        compute_capacity: GFLOPS.
        bandwidth: Mbps to the server.
        latency: ms to the server.
        reliability: probability that the client finishes a task, 0..1.
        server_cost: seconds per megabyte over the server link, if you know it better than ``8 / bandwidth``.
        tags: free labels to filter clients by.
        label_privacy: epsilon of the Laplace noise that label counts get before they leave the device, above 0 (see
            `labels`); None sends them as they are.
        elastic: whether `fit` follows the `local_epochs` of each task, so that a slow device may get fewer.
    """

    data_size: int
    data_distribution: Sequence[float] | Mapping[str, float] | npt.NDArray[np.number[Any]] | None = None
    compute_capacity: float = 10.0
    bandwidth: float = 100.0
    latency: float = 10.0
    reliability: float = 0.9
    server_cost: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    label_privacy: float | None = None
    elastic: bool = False


@runtime_checkable
class Trainer(Protocol):
    """Trains on data that stays here, and may be an `Evaluator` too.

    One agent calls its trainer from one thread at a time, never concurrently.

    Parameters come in as read-only arrays: compute new ones or copy before changing them in place. An exception ends
    the task as failed; its type, its message and where it was raised reach the control plane, its traceback only the
    local log.
    """

    def initial_parameters(self) -> Parameters:
        """Return the parameters with which a training starts if no model was uploaded."""
        ...

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        """Train from the global `parameters` and return the local ones. It may call `task_cancelled` between steps."""
        ...

    def profile(self) -> Profile:
        """Return the profile to register. It is called before each registration."""
        ...


@runtime_checkable
class Evaluator(Protocol):
    """A trainer that also evaluates, on data that it holds out. Other agents do not take part in evaluations."""

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        """Measure the global `parameters` on held-out local data."""
        ...


def hyperparameter(task: Task, name: str, default: Number) -> Number:
    """Return the hyperparameter `name` in the type of `default`, or `default` if the task does not have it.

    Raises:
        TypeError: it is not a number, or it has a fraction although `default` is an integer.
    """
    value = task.hyperparameters.get(name)
    if value is None:
        return default
    if isinstance(value, bool | str) or type(default)(value) != value:
        raise TypeError(f"hyperparameter {name!r} must be {type(default).__name__}, got {value!r}")
    return type(default)(value)
