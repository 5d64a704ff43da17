"""The server's momentum, plain and Nesterov's, for every mean.

Covers: tcsfeel.aggregation.server
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import Parameters, UpdateFacts, Updates, next_model
from tcsfeel.aggregation.blocks import LARGEST_BLOCK
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.errors import ModelNotFinite
from tests.tcsfeel.models import assembled

MEANS: tuple[Aggregation, ...] = ("fedavg", "fedprox", "weighted", "balanced", "fednova", "fedavgm")
FACTS = UpdateFacts(1, 1.0, {"accuracy": 0.5}, num_steps=2)


def step(
    rule: Aggregation,
    model: Parameters,
    mean: Parameters,
    *,
    before: Parameters | None = None,
    state: Parameters | None = None,
    **hyperparameters: Any,
) -> tuple[dict[str, npt.NDArray[Any]], Parameters | None]:
    config = TrainingConfig(name="t", aggregation=rule, hyperparameters=hyperparameters)
    new = next_model(config, Updates(model, [mean]), [FACTS], before=before, state=state)
    return assembled(new, model), new.optimiser.state()


def one(value: float) -> dict[str, npt.NDArray[Any]]:
    return {"w": np.array([value])}


@pytest.mark.parametrize("rule", MEANS)
def test_every_mean_may_have_momentum(rule: Aggregation) -> None:
    # The step is 0.5 * (5 - 3), and the momentum adds 0.25 * (3 - 2).
    new, state = step(rule, one(3.0), one(5.0), before=one(2.0), server_learning_rate=0.5, server_momentum=0.25)
    assert (new["w"][0], state) == (4.25, None)


@pytest.mark.parametrize("rule", ["fedavg", "fedprox", "weighted", "balanced", "fednova"])
def test_without_momentum_the_mean_is_the_next_model(rule: Aggregation) -> None:
    new, state = step(rule, one(3.0), one(5.0), before=one(2.0))
    assert (new["w"][0], state) == (5.0, None)


@pytest.mark.parametrize("rule", MEANS)
def test_nesterovs_momentum_looks_ahead(rule: Aggregation) -> None:
    settings: dict[str, Any] = {"server_learning_rate": 0.5, "server_momentum": 0.25, "server_nesterov": True}
    # d = 2; v = 0.5 * 2 = 1; w = 3 + 1 + 0.25 * 1
    new, state = step(rule, one(3.0), one(5.0), **settings)
    assert state is not None
    assert (new["w"][0], {name: tensor[0] for name, tensor in state.items()}) == (4.25, {"velocity/w": 1.0})
    # d = 1.75; v = 0.25 * 1 + 0.875 = 1.125; w = 4.25 + 0.875 + 0.25 * 1.125. The model before is not read.
    new, state = step(rule, new, one(6.0), before=one(1e6), state=state, **settings)
    assert state is not None
    assert (new["w"][0], state["velocity/w"][0]) == (5.40625, 1.125)


def test_a_velocity_is_kept_in_rounds_without_momentum() -> None:
    _, state = step("fedavg", one(0.0), one(2.0), server_momentum=0.0, server_nesterov=True)
    assert state is not None
    assert state["velocity/w"][0] == 2.0


def test_velocities_are_kept_value_by_value_across_blocks() -> None:
    model, mean = np.zeros(LARGEST_BLOCK + 2), np.zeros(LARGEST_BLOCK + 2)
    mean[0], mean[-1] = 1.0, -2.0
    settings: dict[str, Any] = {"server_momentum": 0.5, "server_nesterov": True}
    whole, state = step("fedavg", {"w": model}, {"w": mean}, **settings)
    whole, _ = step("fedavg", whole, {"w": mean}, state=state, **settings)
    alone, state = step("fedavg", {"w": model[[0, -1]]}, {"w": mean[[0, -1]]}, **settings)
    alone, _ = step("fedavg", alone, {"w": mean[[0, -1]]}, state=state, **settings)
    np.testing.assert_array_equal(whole["w"][[0, -1]], alone["w"])
    assert not whole["w"][1:-1].any()


def test_statistics_and_integers_take_the_mean_and_have_no_velocity() -> None:
    model: dict[str, npt.NDArray[Any]] = {"bn.running_var": np.array([1.0]), "n": np.array([5]), **one(0.0)}
    mean = {"bn.running_var": np.array([0.25]), "n": np.array([9]), **one(1.0)}
    new, state = step("fedavg", model, mean, server_momentum=0.9, server_nesterov=True)
    assert (new["bn.running_var"][0], new["n"][0], new["w"][0]) == (0.25, 9, pytest.approx(1.9))
    assert state is not None
    assert state.keys() == {"velocity/w"}


def test_a_velocity_that_runs_away_gives_no_model() -> None:
    huge = {"w": np.array([3e38], np.float32)}
    state = {"velocity/w": np.array([3e38], np.float32)}
    with pytest.raises(ModelNotFinite, match="the server optimiser's velocity of tensor 'w' is not finite"):
        step("fedavg", {"w": np.zeros(1, np.float32)}, huge, state=state, server_momentum=0.9, server_nesterov=True)
