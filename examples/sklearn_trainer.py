"""A scikit-learn model in a federation: logistic regression by SGD on a shard of handwritten digits.

    tcsfeel agent examples.sklearn_trainer:trainer --id edge-7 --server http://127.0.0.1:8080

The parameters of a linear model are its ``coef_`` and ``intercept_``: put the global ones in, train, send them back.
Hyperparameters: ``local_epochs`` (1), ``learning_rate`` (0.05).
"""

import zlib

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hyperparameter

CLASSES = np.arange(10)
FEATURES = 64


class SklearnTrainer:
    def __init__(self, inputs: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> None:
        cut = max(1, len(inputs) // 5)
        self.test, self.train = (inputs[:cut], labels[:cut]), (inputs[cut:], labels[cut:])

    def initial_parameters(self) -> Parameters:
        return {
            "coef": np.zeros((len(CLASSES), FEATURES), np.float32),
            "intercept": np.zeros(len(CLASSES), np.float32),
        }

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        model = self._model(parameters, task)
        for _ in range(hyperparameter(task, "local_epochs", 1)):
            model.partial_fit(*self.train, classes=CLASSES)
        local = {"coef": model.coef_, "intercept": model.intercept_}  # float64; sent as the float32 that came
        return FitResult(local, len(self.train[0]), *self._measure(model, self.train))

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        return EvaluateResult(len(self.test[0]), *self._measure(self._model(parameters, task), self.test))

    def profile(self) -> Profile:
        return Profile(
            data_size=len(self.train[0]),
            data_distribution=np.bincount(self.train[1], minlength=len(CLASSES)),
            elastic=True,
        )

    def _model(self, parameters: Parameters, task: Task) -> SGDClassifier:
        model = SGDClassifier(
            loss="log_loss",
            learning_rate="constant",
            eta0=hyperparameter(task, "learning_rate", 0.05),
            random_state=zlib.crc32(task.id.encode()),
        )
        model.classes_ = CLASSES
        model.coef_ = parameters["coef"].astype(np.float64)
        model.intercept_ = parameters["intercept"].astype(np.float64)
        return model

    def _measure(
        self, model: SGDClassifier, data: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
    ) -> tuple[float, float]:
        inputs, labels = data
        loss = log_loss(labels, model.predict_proba(inputs), labels=CLASSES)
        return float(loss), float(model.score(inputs, labels))


def trainer(shard: int = 0, shards: int = 10) -> SklearnTrainer:
    """On every `shards`-th of the 1 797 digits, starting with the `shard`-th."""
    digits = load_digits()
    return SklearnTrainer(digits.data[shard::shards] / 16, digits.target[shard::shards])
