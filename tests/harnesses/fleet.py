"""Run agents in the process of the harness, which is not killed. They do the same in each run and count their work."""

import time
from collections import Counter
from collections.abc import Iterable

import numpy as np

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task

FLOATS = 64


class Learner:
    """A trainer whose updates depend only on the parameters, its `number` and the round. It takes `seconds`."""

    def __init__(self, number: int, *, seconds: float) -> None:
        self._number = number
        self._seconds = seconds
        self.trained: Counter[str] = Counter()

    def initial_parameters(self) -> Parameters:
        return {"w": np.linspace(-1, 1, FLOATS, dtype=np.float32), "b": np.zeros(3, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.trained[task.id] += 1
        rng = np.random.default_rng([self._number, task.round])
        time.sleep(self._seconds * rng.uniform(0.5, 1.5))
        moved = {
            name: np.float32(0.9) * values + rng.normal(0, 0.1, values.shape).astype(np.float32)
            for name, values in parameters.items()
        }
        return FitResult(moved, 10 + self._number, loss=1 / task.round, accuracy=0.5)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        self.trained[task.id] += 1
        time.sleep(self._seconds / 2)  # so that processes die meanwhile, too
        return EvaluateResult(10 + self._number, loss=float(np.abs(parameters["w"]).mean()), accuracy=0.5)

    def profile(self) -> Profile:
        return Profile(data_size=10 + self._number)


def learners(client_ids: Iterable[str], *, seconds: float) -> dict[str, Learner]:
    return {client_id: Learner(number, seconds=seconds) for number, client_id in enumerate(client_ids)}


def trained_more_than_once(fleet: Iterable[Learner]) -> int:
    """Return how many tasks were trained more than once, over all agents."""
    return sum(count > 1 for learner in fleet for count in learner.trained.values())
