"""The smallest useful trainer: softmax regression on data that stays here.

tcsfeel agent examples.minimal_trainer:trainer --id edge-7 --server http://127.0.0.1:8080
"""

import numpy as np

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hyperparameter


class SoftmaxTrainer:
    def __init__(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        cut = len(inputs) // 5
        self.test, self.train = (inputs[:cut], targets[:cut]), (inputs[cut:], targets[cut:])

    def initial_parameters(self) -> Parameters:
        features, classes = self.train[0].shape[1], self.train[1].shape[1]
        return {"weights": np.zeros((features, classes), np.float32), "bias": np.zeros(classes, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        (inputs, targets), weights, bias = self.train, parameters["weights"], parameters["bias"]
        step = hyperparameter(task, "learning_rate", 0.5) / len(inputs)
        for _ in range(hyperparameter(task, "local_epochs", 5)):
            error = softmax(inputs @ weights + bias) - targets
            weights, bias = weights - step * inputs.T @ error, bias - step * error.sum(axis=0)
        local = {"weights": weights, "bias": bias}
        return FitResult(local, len(inputs), *measure(local, inputs, targets))

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:  # noqa: ARG002  (all it needs is here)
        return EvaluateResult(len(self.test[0]), *measure(parameters, *self.test))

    def profile(self) -> Profile:
        return Profile(data_size=len(self.train[0]), data_distribution=self.train[1].sum(axis=0), elastic=True)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers: np.ndarray = np.exp(scores - scores.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def measure(parameters: Parameters, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    shares = softmax(inputs @ parameters["weights"] + parameters["bias"])
    loss = -np.log((shares * targets).sum(axis=1) + 1e-12).mean()
    return float(loss), float((shares.argmax(axis=1) == targets.argmax(axis=1)).mean())


def trainer(seed: int = 0, samples: int = 200, features: int = 8, classes: int = 4) -> SoftmaxTrainer:
    """On made-up points: an example of class k has ones at the features k, k + classes, ... and noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=samples)
    centres = np.eye(classes)[:, np.arange(features) % classes]
    return SoftmaxTrainer(centres[labels] + rng.normal(0, 0.5, (samples, features)), np.eye(classes)[labels])
