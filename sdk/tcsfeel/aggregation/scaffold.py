"""Step as SCAFFOLD does, and keep the server's control variate.

SCAFFOLD (Karimireddy et al., "SCAFFOLD: stochastic controlled averaging for federated learning", 2020), option II: the
local steps of client i go along its gradient plus c - c_i, where c is the mean of the c_i of all clients. After K_i
steps at the rate eta from x to y_i, its control variate changes by d_i = (x - y_i) / (K_i * eta) - c. This follows from
the update and the number of steps. So no client sends its control variate, and there is none that could be false.

As in the paper, all clients weigh the same: with S clients that took part, of N that could have,

    x + rate * sum(y_i - x) / S    and    c + sum(d_i) / N.

A client's changes have to weigh the same in every round: then they add up to its control variate, and c stays the mean
of all. A weight that depends on who else takes part leaves an error in c, and the training ends beside the optimum. A
weight that clients claim, such as their examples, lets one client keep c near 0.

Statistics and integers have no control variate, and take the mean.
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
        updates: of the round, at least one.
        steps: how many local steps each update took.
        state: the control variates, None if all are 0.
        population: how many clients could have taken part; it counts as at least the number of updates.

    Raises:
        ModelNotFinite: a control variate is not finite any more (from `step`).
    """

    def __init__(
        self,
        config: AggregationConfig,
        updates: Updates,
        steps: Sequence[float],
        *,
        state: Parameters | None,
        population: int,
    ) -> None:
        self._updates = updates
        self._by_step = [1.0 / len(steps) / count for count in steps]
        self._same = len(set(steps)) == 1
        self._scale = sum(self._by_step) / config.hyperparameter("learning_rate", LEARNING_RATE)
        self._share = len(steps) / max(population, len(steps))
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
        kept = self._next[name].ravel()[rows]
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
