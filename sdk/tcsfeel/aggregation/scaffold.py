"""Step as SCAFFOLD does, and keep the server's control variate.

SCAFFOLD (Karimireddy et al., "SCAFFOLD: stochastic controlled averaging for federated learning", 2020), option II: the
local steps of client i go along its gradient plus c - c_i, where c is the mean of the c_i of all clients. After K_i
steps at the rate eta from x to y_i, its control variate changes by d_i = (x - y_i) / (K_i * eta) - c. This follows from
the update and the number of steps. So no client sends its control variate, and there is none that could be false.

The paper weighs all clients equally. Here they weigh by their examples, as in FedAvg, so that the goal stays the same:
with n_i examples of those that took part, and n examples of all clients that could have,

    x + rate * sum(n_i * (y_i - x)) / sum(n_i)    and    c + sum(n_i * d_i) / n.

With equal n_i that is the paper's algorithm. Statistics and integers have no control variate, and take the mean.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.aggregation.blocks import Block, Updates, values
from tcsfeel.aggregation.config import AggregationConfig
from tcsfeel.aggregation.updates import Parameters
from tcsfeel.errors import ModelNotFinite
from tcsfeel.wire.control import control_dtype
from tcsfeel.wire.tasks import LEARNING_RATE

RATE = 1.0


class Scaffold:
    """The server's optimiser. It goes from block to block.

    Args:
        config: its `learning_rate` is that of the local steps, and `server_learning_rate` that of the server's.
        updates: of the round.
        weights: of each update, with a sum above zero.
        steps: how many local steps each update took.
        state: the control variates, None if all are 0.
        population: what all clients that could have taken part weigh; at least those that did.

    Raises:
        ModelNotFinite: a control variate is not finite any more (from `step`).
    """

    def __init__(
        self,
        config: AggregationConfig,
        updates: Updates,
        weights: Sequence[float],
        steps: Sequence[float],
        *,
        state: Parameters | None,
        population: float,
    ) -> None:
        total = sum(weights)
        self._updates = updates
        self._by_step = [weight / total / count for weight, count in zip(weights, steps, strict=True)]
        self._same = len(set(steps)) == 1
        self._scale = sum(self._by_step) / config.hyperparameter("learning_rate", LEARNING_RATE)
        self._share = total / max(population, total)
        self._rate = config.hyperparameter("server_learning_rate", RATE)
        self._past = state
        self._next: dict[str, npt.NDArray[Any]] = {
            name: np.empty(tensor.shape, control_dtype(tensor))
            for name, tensor in updates.model.items()
            if name in updates.learnt
        }

    def step(self, name: str, rows: slice, mean: Block) -> Block:
        if name not in self._next:
            return mean
        now = values(self._updates.model, name, rows)
        moved = now - (mean if self._same else self._updates.mean(self._by_step, name, rows))
        before = 0.0 if self._past is None else values(self._past, name, rows)
        kept = self._next[name].reshape(-1)[rows]
        kept[:] = before + self._share * (self._scale * moved - before)
        if not np.isfinite(kept).all():
            raise ModelNotFinite(f"the control variate of tensor {name!r} is not finite")
        return mean if self._rate == RATE else now + self._rate * (mean - now)

    def state(self) -> Parameters:
        return self._next


def zeros(model: Parameters, learnt: Collection[str]) -> Parameters:
    """Return the control variates with which a training begins: views, which take no memory."""
    return {
        name: np.broadcast_to(np.zeros((), control_dtype(tensor)), tensor.shape)
        for name, tensor in model.items()
        if name in learnt
    }
