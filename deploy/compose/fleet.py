"""Run several devices in one process, each with data of its own: the agents of the Compose file.

Each device draws points of ten overlapping classes, with a share of each class that is its own, and trains a linear
classifier, which takes it about a second, as if it were a small machine. Only NumPy is needed.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hyperparameter, serve_many

CLASSES, FEATURES, SPREAD = 10, 64, 1.5
CENTRES = np.random.default_rng(7).normal(size=(CLASSES, FEATURES))
SCALES = np.logspace(0, -1, FEATURES)  # features of different sizes are learned at different speeds
SECONDS = 1.0

Floats = npt.NDArray[np.float64]


class PointTrainer:
    """Trains on the points of one device, whose number decides what they are."""

    def __init__(self, number: int) -> None:
        rng = np.random.default_rng([number, 1])
        labels = rng.choice(CLASSES, size=240, p=rng.dirichlet(np.full(CLASSES, 0.5)))
        points = (CENTRES[labels] + SPREAD * rng.normal(size=(len(labels), FEATURES))) * SCALES
        inputs, targets = np.hstack([points, np.ones((len(labels), 1))]), np.eye(CLASSES)[labels]
        self._train, self._test = (inputs[48:], targets[48:]), (inputs[:48], targets[:48])

    def initial_parameters(self) -> Parameters:
        """Return a model that knows nothing."""
        return {"weights": np.zeros((FEATURES + 1, CLASSES), np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        """Take some steps of gradient descent."""
        time.sleep(np.random.default_rng().uniform(0.5, 1.5) * SECONDS)
        inputs, targets = self._train
        weights = parameters["weights"].astype(np.float64)
        for _ in range(hyperparameter(task, "local_epochs", 1)):
            slope = inputs.T @ (probabilities(inputs, weights) - targets) / len(inputs)
            weights = weights - hyperparameter(task, "learning_rate", 0.1) * slope
        loss, accuracy = measured(weights, *self._train)
        return FitResult({"weights": weights}, len(inputs), loss, accuracy)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        """Measure with points that `fit` does not see."""
        del task
        loss, accuracy = measured(parameters["weights"].astype(np.float64), *self._test)
        return EvaluateResult(len(self._test[0]), loss, accuracy)

    def profile(self) -> Profile:
        """Describe the device."""
        return Profile(data_size=len(self._train[0]), data_distribution=self._train[1].sum(axis=0))


def probabilities(inputs: Floats, weights: Floats) -> Floats:
    """Return the probability of each class, for each point."""
    scores = inputs @ weights
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    share: Floats = powers / powers.sum(axis=1, keepdims=True)
    return share


def measured(weights: Floats, inputs: Floats, targets: Floats) -> tuple[float, float]:
    """Return the mean loss and the accuracy."""
    shares = probabilities(inputs, weights)
    loss = -np.log((shares * targets).sum(axis=1) + 1e-12).mean()
    return float(loss), float((shares.argmax(axis=1) == targets.argmax(axis=1)).mean())


def main() -> None:
    """Run the devices of the command line until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", default="0-3", help="the numbers of the first and the last one")
    parser.add_argument("--pull", action="store_true", help="ask for tasks, instead of being called")
    parser.add_argument("--host", default="0.0.0.0", help="where to listen")  # noqa: S104  (of a container)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--advertise-url", help="where the servers reach the devices")
    given = parser.parse_args()
    first, last = (int(number) for number in given.devices.split("-"))
    serve_many(
        {f"edge-{number}": PointTrainer(number) for number in range(first, last + 1)},
        server_url=os.environ["TCSFEEL_SERVER"],
        invite=Path(os.environ["INVITATION"]).read_text().strip(),
        ca_file=Path(os.environ["TCSFEEL_CA_FILE"]),
        host=given.host,
        port=given.port,
        advertise_url=given.advertise_url,
        pull=given.pull,
    )


if __name__ == "__main__":
    main()
