"""Run agents in the process of the harness, which is not killed. They do the same in each run and count their work."""

import time
from collections import Counter
from collections.abc import Iterable

import numpy as np

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task

FLOATS = 64
SLOW_FROM = 1.2  # of the usual time, from which on a slow learner is slow: in three of ten rounds


class Learner:
    """A trainer whose updates depend only on the parameters, its `number` and the round.

    It takes `seconds` on average, and `slow` times as long in some of its rounds.
    """

    def __init__(self, number: int, *, seconds: float, slow: float = 1.0) -> None:
        self._number = number
        self._seconds = seconds
        self._slow = slow
        self.trained: Counter[str] = Counter()

    def initial_parameters(self) -> Parameters:
        return {"w": np.linspace(-1, 1, FLOATS, dtype=np.float32), "b": np.zeros(3, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.trained[task.id] += 1
        share = _random(self._number, task.round).uniform(0.5, 1.5)
        time.sleep(self._seconds * share * (self._slow if share > SLOW_FROM else 1.0))
        moved = trained(parameters, self._number, task.round)
        return FitResult(moved, examples_of(self._number), loss=1 / task.round, accuracy=0.5)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        self.trained[task.id] += 1
        time.sleep(self._seconds / 2)  # so that processes die meanwhile, too
        return EvaluateResult(10 + self._number, loss=float(np.abs(parameters["w"]).mean()), accuracy=0.5)

    def profile(self) -> Profile:
        return Profile(data_size=10 + self._number)


def examples_of(number: int) -> int:
    """Return the examples that the learner with a number reports."""
    return 10 + number


def trained(parameters: Parameters, number: int, round_: int) -> Parameters:
    """Return the update that the learner with a number makes of parameters in a round."""
    rng = _random(number, round_)
    rng.uniform(0.5, 1.5)  # which says how long it takes
    return {
        name: np.float32(0.9) * values + rng.normal(0, 0.1, values.shape).astype(np.float32)
        for name, values in parameters.items()
    }


def learners(client_ids: Iterable[str], *, seconds: float, slow: float = 1.0) -> dict[str, Learner]:
    return {client_id: Learner(number, seconds=seconds, slow=slow) for number, client_id in enumerate(client_ids)}


def trained_more_than_once(fleet: Iterable[Learner]) -> int:
    """Return how many tasks were trained more than once, over all agents."""
    return sum(count > 1 for learner in fleet for count in learner.trained.values())


def _random(number: int, round_: int) -> np.random.Generator:
    return np.random.default_rng([number, round_])
