"""A multi-layer perceptron in plain numpy, trained with local SGD on a shard of real handwritten digits.

    tcsfeel agent examples.numpy_mlp:trainer --id edge-7 --server http://127.0.0.1:8080

Hyperparameters: ``local_epochs`` (1), ``learning_rate`` (0.1), ``batch_size`` (32) and ``proximal_mu`` (0), FedProx's
pull towards the global parameters: the gradient of ``mu / 2 * |w - w_global|^2`` (Li et al. 2020, equation 2). It also
reports its steps and applies ``task.correction``, so trainings with FedNova and SCAFFOLD can use it.
"""

import zlib
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hyperparameter, task_cancelled

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.intp]


class MlpTrainer:
    """Trains ``w0, b0, w1, b1, ...`` (float32) on one shard and measures on another part of it.

    Args:
        inputs: n by features, float32.
        labels: n class numbers.
        sizes: features, hidden units, ..., classes.
        held_out: share of the shard that is only evaluated on.
        seed: of the split, the shuffling and the initial parameters.
    """

    def __init__(
        self, inputs: Floats, labels: Labels, sizes: tuple[int, ...], held_out: float = 0.2, seed: int = 0
    ) -> None:
        self.sizes = sizes
        self.seed = seed
        order = np.random.default_rng(seed).permutation(len(inputs))
        cut = max(1, round(len(order) * held_out))
        self.test, self.train = (inputs[order[:cut]], labels[order[:cut]]), (inputs[order[cut:]], labels[order[cut:]])

    def initial_parameters(self) -> Parameters:
        rng = np.random.default_rng(self.seed)
        parameters: dict[str, Floats] = {}
        for layer, (fan_in, fan_out) in enumerate(pairwise(self.sizes)):
            scale = np.sqrt(2 / fan_in)  # He et al. 2015
            parameters[f"w{layer}"] = rng.normal(0, scale, (fan_in, fan_out)).astype(np.float32)
            parameters[f"b{layer}"] = np.zeros(fan_out, np.float32)
        return parameters

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        epochs = hyperparameter(task, "local_epochs", 1)
        rate = np.float32(hyperparameter(task, "learning_rate", 0.1))
        batch = hyperparameter(task, "batch_size", 32)
        pull = np.float32(hyperparameter(task, "proximal_mu", 0.0))
        rng = np.random.default_rng([self.seed, zlib.crc32(task.id.encode())])  # a repeat gives the same update
        local = {name: array.copy() for name, array in parameters.items()}
        inputs, labels = self.train
        steps = 0
        for _ in range(epochs):
            order = rng.permutation(len(inputs))
            for start in range(0, len(order), batch):
                if task_cancelled():
                    raise RuntimeError("no longer wanted")
                rows = order[start : start + batch]
                for name, gradient in gradients(local, inputs[rows], labels[rows]).items():
                    drift = pull * (local[name] - parameters[name]) + task.correction.get(name, 0)
                    local[name] -= rate * (gradient + drift)
                steps += 1
        return FitResult(local, len(inputs), *measure(local, inputs, labels), num_steps=steps)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        del task
        inputs, labels = self.test
        return EvaluateResult(len(inputs), *measure(parameters, inputs, labels))

    def profile(self) -> Profile:
        return Profile(
            data_size=len(self.train[0]),
            data_distribution=np.bincount(self.train[1], minlength=self.sizes[-1]),
            elastic=True,
        )


def forward(parameters: Parameters, inputs: Floats) -> list[Floats]:
    """The inputs, each hidden layer after its ReLU, and last the logarithms of the class probabilities."""
    layers = [inputs]
    depth = len(parameters) // 2
    for layer in range(depth):
        scores = layers[-1] @ parameters[f"w{layer}"] + parameters[f"b{layer}"]
        if layer < depth - 1:
            layers.append(np.maximum(scores, 0))
        else:
            scores -= scores.max(axis=1, keepdims=True)
            layers.append(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))
    return layers


def gradients(parameters: Parameters, inputs: Floats, labels: Labels) -> dict[str, Floats]:
    """Of the mean cross-entropy, by back-propagation."""
    layers = forward(parameters, inputs)
    error = np.exp(layers[-1])
    error[np.arange(len(labels)), labels] -= 1
    error /= np.float32(len(labels))
    found: dict[str, Floats] = {}
    for layer in reversed(range(len(parameters) // 2)):
        found[f"w{layer}"] = layers[layer].T @ error
        found[f"b{layer}"] = error.sum(axis=0)
        error = (error @ parameters[f"w{layer}"].T) * (layers[layer] > 0)
    return found


def measure(parameters: Parameters, inputs: Floats, labels: Labels) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    logs = forward(parameters, inputs)[-1]
    loss = -logs[np.arange(len(labels)), labels].mean()
    return float(loss), float((logs.argmax(axis=1) == labels).mean())


def trainer(shard: int = 0, shards: int = 10, hidden: int = 32) -> MlpTrainer:
    """On every `shards`-th of scikit-learn's 1 797 digits, starting with the `shard`-th."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  (only this entry needs scikit-learn)

    digits = load_digits()
    inputs = (digits.data[shard::shards] / 16).astype(np.float32)
    return MlpTrainer(inputs, digits.target[shard::shards].astype(np.intp), (64, hidden, 10), seed=shard)
