"""SCAFFOLD as its paper writes it down, and clients whose gradients are simple."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcsfeel.agent import FitResult, Parameters, Profile, Task, hyperparameter

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bowl:
    """A client whose loss is curvature / 2 * (w - lowest)^2, summed over the values of the tensor ``w``."""

    lowest: float
    curvature: float = 1.0
    steps: int = 3
    examples: int = 10

    def initial_parameters(self) -> Parameters:
        return {"w": np.zeros(2)}

    def gradient(self, w: Doubles) -> Doubles:
        return self.curvature * (w - self.lowest)

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        local = parameters["w"].copy()
        rate = hyperparameter(task, "learning_rate", 0.1)
        for _ in range(self.steps):
            local -= rate * (self.gradient(local) + task.correction.get("w", 0))
        return FitResult({**parameters, "w": local}, self.examples, 1.0, num_steps=self.steps)

    def profile(self) -> Profile:
        return Profile(data_size=self.examples)


def by_the_paper(
    clients: Sequence[Bowl], rounds: Sequence[Sequence[int]], rates: float | Sequence[float]
) -> tuple[Doubles, Doubles]:
    """Algorithm 1 of Karimireddy et al. with option II and a global rate of 1: the model x and the control variate c.

    Each round names the clients that take part, and has the same rate or its own.
    """
    x = c = np.zeros(2)
    own = [np.zeros(2) for _ in clients]
    for number, chosen in enumerate(rounds):
        rate = rates if isinstance(rates, float) else rates[number]
        moves, changes = [], []
        for i in chosen:
            y = x.copy()
            for _ in range(clients[i].steps):
                y = y - rate * (clients[i].gradient(y) - own[i] + c)
            new = own[i] - c + (x - y) / (clients[i].steps * rate)
            moves.append(y - x)
            changes.append(new - own[i])
            own[i] = new
        x = x + np.mean(moves, axis=0)
        c = c + len(chosen) / len(clients) * np.mean(changes, axis=0)
    return x, c
