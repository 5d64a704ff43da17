"""Step from the round's base model towards the updates' mean with a server optimiser, and keep its state.

With the round's difference d = mean - w and the rate eta:

- fedavgm (Hsu, Qi, Brown, "Measuring the effects of non-identical data distribution for federated visual
  classification", 2019): w + eta * d + beta * (w - w_before). Its memory is the model before. Every other mean may do
  the same; its momentum is 0 by default.
- Nesterov's momentum, for the same means (Sutskever et al., "On the importance of initialization and momentum in deep
  learning", 2013): w + eta * d + beta * v, v = beta * v + eta * d. The next round's updates start where the momentum
  is about to lead. Its memory is the velocity v, at first 0: the models alone do not tell it.
- fedadam, fedyogi, fedadagrad (Reddi et al., "Adaptive federated optimization", 2021): w + eta * m / (sqrt(v) + tau),
  m = beta_1 * m + (1 - beta_1) * d. Their memory is m, at first 0, and v, at first tau^2, for each value.

All of them move the tensors that are learnt (`statistics`), the adaptive ones in steps of about the same length
whatever the scale of d. Running statistics, integers and booleans, which measure or count something, take the mean.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tcsfeel.aggregation.blocks import Block, Double, values
from tcsfeel.aggregation.config import Aggregation, AggregationConfig
from tcsfeel.aggregation.updates import Parameters
from tcsfeel.errors import ModelNotFinite

RATE = 1.0
ADAPTIVE_RATE = 0.1
MOMENTUM = 0.9
SECOND_MOMENTUM = 0.99
ADAPTIVITY = 1e-3  # tau

FIRST, SECOND = "first/", "second/"  # before a tensor's name, the names of its moments in a state
VELOCITY = "velocity/"


class Optimiser(Protocol):
    """Computes the new values block by block."""

    def step(self, name: str, rows: slice, mean: Block) -> Block:
        """Return the new values at some places of a tensor."""

    def state(self) -> Parameters | None:
        """Return the state that the next round needs; None if it needs none."""


class TakeMean:
    """Takes the mean as it is, without an optimiser."""

    def step(self, _name: str, _rows: slice, mean: Block) -> Block:
        return mean

    def state(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Momentum:
    """`before` is the model before `model`, None in the first round; `learnt` names the tensors that it moves."""

    model: Parameters
    learnt: Collection[str]
    before: Parameters | None
    rate: float
    momentum: float

    def step(self, name: str, rows: slice, mean: Block) -> Block:
        if name not in self.learnt:
            return mean
        now = values(self.model, name, rows)
        past = now if self.before is None else values(self.before, name, rows)
        return now + (self.rate * (mean - now) + self.momentum * (now - past))

    def state(self) -> None:
        return None


class Nesterov:
    """Velocities are kept in float32, or in float64 for tensors of that type.

    Raises:
        ModelNotFinite: a velocity is no longer finite (from `step`).
    """

    def __init__(
        self, model: Parameters, learnt: Collection[str], state: Parameters | None, rate: float, momentum: float
    ) -> None:
        self._model = model
        self._past = state
        self._rate = rate
        self._momentum = momentum
        self._next = _like(model, learnt, VELOCITY)

    def step(self, name: str, rows: slice, mean: Block) -> Block:
        if VELOCITY + name not in self._next:
            return mean
        now = values(self._model, name, rows)
        pushed = self._rate * (mean - now)
        velocity = pushed
        if self._past is not None:
            velocity = self._momentum * values(self._past, VELOCITY + name, rows) + pushed
        _keep(self._next, VELOCITY, name, rows, velocity)
        return now + (pushed + self._momentum * velocity)

    def state(self) -> Parameters:
        return self._next


def _like(model: Parameters, learnt: Collection[str], *kinds: str) -> dict[str, npt.NDArray[Any]]:
    """Return room for what an optimiser keeps of each tensor that it moves: an array of each kind."""
    return {
        kind + name: np.empty(tensor.shape, np.promote_types(tensor.dtype, np.float32))
        for name, tensor in model.items()
        if name in learnt
        for kind in kinds
    }


def _keep(kept: Mapping[str, npt.NDArray[Any]], kind: str, name: str, rows: slice, new: Double) -> None:
    """Write values of a state. Raises `ModelNotFinite` if one of them is not finite in the state's dtype."""
    place = kept[kind + name].ravel()[rows]
    place[:] = new
    if not np.isfinite(place).all():
        what = "velocity of tensor {!r} is" if kind == VELOCITY else "moments of tensor {!r} are"
        raise ModelNotFinite(f"the server optimiser's {what.format(name)} not finite")


# The momentum of each mean unless given.
MOMENTA: Mapping[Aggregation, float] = {
    "fedavg": 0.0,
    "fedprox": 0.0,
    "weighted": 0.0,
    "balanced": 0.0,
    "fednova": 0.0,
    "fedavgm": MOMENTUM,
}

Second = Callable[[Double, Double, float], Double]


def _adam(second: Double, squared: Double, beta: float) -> Double:
    return beta * second + (1 - beta) * squared


def _yogi(second: Double, squared: Double, beta: float) -> Double:
    return second - (1 - beta) * squared * np.sign(second - squared)


def _adagrad(second: Double, squared: Double, _beta: float) -> Double:
    return second + squared


# How the squared difference changes the second moment, and the default of the first momentum.
ADAPTIVE: Mapping[Aggregation, tuple[Second, float]] = {
    "fedadam": (_adam, MOMENTUM),
    "fedyogi": (_yogi, MOMENTUM),
    "fedadagrad": (_adagrad, 0.0),
}


def keeps_state(config: AggregationConfig) -> bool:
    """Tell whether the optimiser has a state that the next round has to be given."""
    return config.aggregation in ADAPTIVE or _is_nesterov(config)


def reads_parent(config: AggregationConfig) -> bool:
    """Tell whether the optimiser reads the model before the one that a round starts from."""
    return _momentum(config) > 0.0 and not _is_nesterov(config)


def _is_nesterov(config: AggregationConfig) -> bool:
    return config.aggregation in MOMENTA and config.switched_on("server_nesterov")


def _momentum(config: AggregationConfig) -> float:
    """Return the weight of the step before; 0 for the rules that have none."""
    if config.aggregation not in MOMENTA:
        return 0.0
    return config.hyperparameter("server_momentum", MOMENTA[config.aggregation])


class Adaptive:
    """Moments are kept in float32, or in float64 for tensors of that type.

    Raises:
        ModelNotFinite: a moment is no longer finite (from `step`).
    """

    def __init__(
        self, config: AggregationConfig, model: Parameters, learnt: Collection[str], state: Parameters | None
    ) -> None:
        self._take_in, momentum = ADAPTIVE[config.aggregation]
        self._rate = config.hyperparameter("server_learning_rate", ADAPTIVE_RATE)
        self._momentum = config.hyperparameter("server_momentum", momentum)
        self._second_momentum = config.hyperparameter("server_second_momentum", SECOND_MOMENTUM)
        self._tau = config.hyperparameter("server_adaptivity", ADAPTIVITY)
        self._model = model
        self._past = state
        self._next = _like(model, learnt, FIRST, SECOND)

    def step(self, name: str, rows: slice, mean: Block) -> Block:
        if FIRST + name not in self._next:
            return mean
        now = values(self._model, name, rows)
        difference = mean - now
        first = self._momentum * self._moment(FIRST + name, rows, 0.0) + (1 - self._momentum) * difference
        second = self._take_in(
            self._moment(SECOND + name, rows, self._tau**2), np.square(difference), self._second_momentum
        )
        for moment, value in ((FIRST, first), (SECOND, second)):
            _keep(self._next, moment, name, rows, value)
        return now + self._rate * first / (np.sqrt(second) + self._tau)

    def state(self) -> Parameters:
        return self._next

    def _moment(self, key: str, rows: slice, at_first: float) -> Double:
        if self._past is None:
            return np.full(rows.stop - rows.start, at_first)
        return values(self._past, key, rows)


def optimiser(
    config: AggregationConfig,
    model: Parameters,
    learnt: Collection[str],
    before: Parameters | None,
    state: Parameters | None,
) -> Optimiser:
    """Return the optimiser of the training's aggregation; it changes the tensors that are `learnt`."""
    if config.aggregation in ADAPTIVE:
        return Adaptive(config, model, learnt, state)
    if config.aggregation in MOMENTA:
        rate = config.hyperparameter("server_learning_rate", RATE)
        momentum = _momentum(config)
        if _is_nesterov(config):  # also in rounds in which a schedule makes the momentum 0, for those after it
            return Nesterov(model, learnt, state, rate, momentum)
        if rate != RATE or momentum > 0.0:
            return Momentum(model, learnt, before, rate, momentum)
    return TakeMean()
