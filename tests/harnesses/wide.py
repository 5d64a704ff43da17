"""Define learners with a model whose size a harness chooses."""

import numpy as np

from tcsfeel.agent import Parameters
from tests.harnesses.fleet import Learner


class WideLearner(Learner):
    """A learner whose model has a given number of floats."""

    def __init__(self, number: int, *, seconds: float, floats: int) -> None:
        super().__init__(number, seconds=seconds)
        self._floats = floats

    def initial_parameters(self) -> Parameters:
        return {"w": np.linspace(-1, 1, self._floats, dtype=np.float32), "b": np.zeros(3, np.float32)}
