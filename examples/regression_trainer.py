"""A trainer that does not classify: linear regression, measured by its root mean squared error.

tcsfeel agent examples.regression_trainer:trainer --id edge-7 --server http://127.0.0.1:8080
tcsfeel train --name heights --goal rmse:min:0.2 --min-clients 1 --max-clients 10 --watch
"""

import numpy as np

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hyperparameter


class RegressionTrainer:
    def __init__(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        cut = len(inputs) // 5
        self.test, self.train = (inputs[:cut], targets[:cut]), (inputs[cut:], targets[cut:])

    def initial_parameters(self) -> Parameters:
        return {"weights": np.zeros(self.train[0].shape[1], np.float32), "bias": np.zeros(1, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        (inputs, targets), weights, bias = self.train, parameters["weights"], parameters["bias"]
        step = hyperparameter(task, "learning_rate", 0.1)
        for _ in range(hyperparameter(task, "local_epochs", 5)):
            error = inputs @ weights + bias - targets
            weights, bias = weights - step * inputs.T @ error / len(inputs), bias - step * error.mean()
        local = {"weights": weights, "bias": bias}
        loss, metrics = measure(local, inputs, targets)
        return FitResult(local, len(inputs), loss, metrics=metrics)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:  # noqa: ARG002  (all it needs is here)
        loss, metrics = measure(parameters, *self.test)
        return EvaluateResult(len(self.test[0]), loss, metrics=metrics)

    def profile(self) -> Profile:
        return Profile(data_size=len(self.train[0]), elastic=True)


def measure(parameters: Parameters, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, dict[str, float]]:
    """Mean squared error, its root, and the mean absolute error."""
    error = inputs @ parameters["weights"] + parameters["bias"] - targets
    squared = float((error**2).mean())
    return squared, {"rmse": squared**0.5, "mae": float(np.abs(error).mean())}


def trainer(seed: int = 0, samples: int = 200, features: int = 4) -> RegressionTrainer:
    """On made-up points: the target is 1 + x_1 + 2 x_2 + 3 x_3 + ..., and noise with a deviation of 0.1."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(samples, features))
    return RegressionTrainer(inputs, 1 + inputs @ np.arange(1, features + 1) + rng.normal(0, 0.1, samples))
