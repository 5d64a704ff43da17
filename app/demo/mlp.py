"""Train a perceptron with one hidden layer, by SGD on the cross-entropy, in float32."""

from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from app.demo.digits import CLASSES, Inputs, Labels
from tcsfeel.agent import Parameters

PIXELS = 64
HIDDEN = 64

Floats = npt.NDArray[np.float32]


def initial(rng: np.random.Generator) -> dict[str, Floats]:
    """Draw initial weights (He et al., "Delving deep into rectifiers", 2015). The biases are 0."""
    return {
        "hidden.weight": _weights(PIXELS, HIDDEN, rng),
        "hidden.bias": np.zeros(HIDDEN, np.float32),
        "output.weight": _weights(HIDDEN, CLASSES, rng),
        "output.bias": np.zeros(CLASSES, np.float32),
    }


def size(parameters: Parameters) -> int:
    """Return the number of parameters."""
    return sum(array.size for array in parameters.values())


def train(
    parameters: Parameters,
    inputs: Inputs,
    labels: Labels,
    *,
    epochs: int,
    rate: float,
    batch: int,
    rng: np.random.Generator,
    correction: Parameters = MappingProxyType({}),
) -> dict[str, Floats]:
    """Return the parameters after `epochs` passes over the inputs (n, 64) and labels (n,) in random order.

    `correction` is added to the gradients of its tensors.
    """
    local = {name: array.astype(np.float32) for name, array in parameters.items()}
    step = np.float32(rate)
    for _ in range(epochs):
        order = rng.permutation(len(labels))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            for name, slope in gradients(local, inputs[rows], labels[rows]).items():
                local[name] -= step * (slope + correction.get(name, 0))
    return local


def measure(parameters: Parameters, inputs: Inputs, labels: Labels) -> tuple[float, float]:
    """Return the mean cross-entropy in nats, and the share that is classified correctly, 0..1."""
    _, logs = _forward(parameters, inputs)
    loss = -logs[np.arange(len(labels)), labels].mean()
    return float(loss), float((logs.argmax(axis=1) == labels).mean())


def gradients(parameters: Parameters, inputs: Inputs, labels: Labels) -> dict[str, Floats]:
    """Return the gradients of the mean cross-entropy, by the names of the parameters."""
    active, logs = _forward(parameters, inputs)
    error = np.exp(logs)
    error[np.arange(len(labels)), labels] -= 1
    error /= np.float32(len(labels))
    behind = (error @ parameters["output.weight"].T) * (active > 0)
    return {
        "hidden.weight": inputs.T @ behind,
        "hidden.bias": behind.sum(axis=0),
        "output.weight": active.T @ error,
        "output.bias": error.sum(axis=0),
    }


def _forward(parameters: Parameters, inputs: Inputs) -> tuple[Floats, Floats]:
    """Return the activations (n, hidden) and the logarithms of the class probabilities (n, classes)."""
    active = np.maximum(inputs @ parameters["hidden.weight"] + parameters["hidden.bias"], 0)
    scores = active @ parameters["output.weight"] + parameters["output.bias"]
    scores -= scores.max(axis=1, keepdims=True)
    return active, scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def _weights(fan_in: int, fan_out: int, rng: np.random.Generator) -> Floats:
    return rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out)).astype(np.float32)
