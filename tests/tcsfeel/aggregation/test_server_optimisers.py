"""Adaptive server optimisers against the formulas of their paper, value by value."""

import math
from dataclasses import dataclass, replace
from typing import Any, get_args

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import Parameters, UpdateFacts, Updates, next_model
from tcsfeel.aggregation.blocks import LARGEST_BLOCK
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.server import keeps_state, reads_parent
from tcsfeel.errors import UnusableRound
from tests.tcsfeel.models import assembled

RULES: tuple[Aggregation, ...] = ("fedadam", "fedyogi", "fedadagrad")
MEANS: tuple[Aggregation, ...] = ("fedavg", "fedprox", "weighted", "balanced", "fednova", "fedavgm")
FACTS = UpdateFacts(1, 1.0, {"accuracy": 0.5})


@dataclass(frozen=True)
class Stepped:
    parameters: dict[str, npt.NDArray[Any]]
    state: Parameters | None


def step(
    rule: Aggregation, model: Parameters, mean: Parameters, state: Parameters | None = None, **hyperparameters: float
) -> Stepped:
    config = TrainingConfig(name="t", aggregation=rule, hyperparameters=hyperparameters)
    new = next_model(config, Updates(model, [mean]), [FACTS], state=state)
    return Stepped(assembled(new, model), new.optimiser.state())


def by_the_paper(
    rule: Aggregation, means: list[float], *, rate: float, beta_1: float, beta_2: float, tau: float
) -> float:
    """Algorithm 2 of Reddi et al. for one value that begins at 0."""
    value, first, second = 0.0, 0.0, tau**2
    for mean in means:
        difference = mean - value
        first = beta_1 * first + (1 - beta_1) * difference
        if rule == "fedadam":
            second = beta_2 * second + (1 - beta_2) * difference**2
        elif rule == "fedyogi":
            second -= (1 - beta_2) * difference**2 * math.copysign(1.0, second - difference**2)
        else:
            second += difference**2
        value += rate * first / (math.sqrt(second) + tau)
    return value


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("own", [True, False])
def test_some_rounds_of_each(rule: Aggregation, own: bool) -> None:
    means = [1.0, 0.5, -2.0, 0.0, 0.001]
    given = {
        "server_learning_rate": 0.5,
        "server_momentum": 0.25,
        "server_second_momentum": 0.75,
        "server_adaptivity": 0.125,
    }
    wanted = by_the_paper(rule, means, rate=0.5, beta_1=0.25, beta_2=0.75, tau=0.125)
    if not own:
        given = {}
        beta_1 = 0.0 if rule == "fedadagrad" else 0.9
        wanted = by_the_paper(rule, means, rate=0.1, beta_1=beta_1, beta_2=0.99, tau=1e-3)
    new = Stepped({"w": np.zeros(1)}, None)
    for mean in means:
        new = step(rule, new.parameters, {"w": np.array([mean])}, new.state, **given)
    assert new.parameters["w"][0] == pytest.approx(wanted, rel=1e-12)


def test_the_first_step_by_hand() -> None:
    # m = 0.1 * 2 = 0.2; v = 0.99 * 1e-6 + 0.01 * 4 = 0.04000099; w = 1 + 0.1 * 0.2 / (0.2000025 + 0.001)
    new = step("fedadam", {"w": np.array([1.0])}, {"w": np.array([3.0])})
    assert new.parameters["w"][0] == pytest.approx(1.0995012, abs=1e-7)
    assert new.state is not None
    assert {name: moment[0] for name, moment in new.state.items()} == pytest.approx(
        {"first/w": 0.2, "second/w": 0.04000099}
    )


def test_the_second_moment_of_yogi_stays_where_the_squared_difference_is_just_as_large() -> None:
    # m = 0.125; v = 0.125^2 = d^2; w = 0.5 * 0.125 / (0.125 + 0.125)
    new = step(
        "fedyogi", {"w": np.zeros(1)}, {"w": np.array([0.125])},
        server_learning_rate=0.5, server_momentum=0.0, server_adaptivity=0.125,
    )  # fmt: skip
    assert new.parameters["w"][0] == 0.25
    assert new.state is not None
    assert new.state["second/w"][0] == 0.015625


@pytest.mark.parametrize("rule", RULES)
def test_moments_are_kept_value_by_value_across_blocks(rule: Aggregation) -> None:
    model, mean = np.zeros(LARGEST_BLOCK + 2), np.zeros(LARGEST_BLOCK + 2)
    mean[0], mean[-1] = 1.0, -2.0
    whole, alone = Stepped({"w": model}, None), Stepped({"w": model[[0, -2, -1]]}, None)
    for _ in range(2):
        whole = step(rule, whole.parameters, {"w": mean}, whole.state)
        alone = step(rule, alone.parameters, {"w": mean[[0, -2, -1]]}, alone.state)
    np.testing.assert_array_equal(whole.parameters["w"][[0, -2, -1]], alone.parameters["w"])


@pytest.mark.parametrize("rule", RULES)
def test_where_the_updates_stay_the_model_stays(rule: Aggregation) -> None:
    model = {"w": np.ones(3, np.float32)}
    np.testing.assert_array_equal(step(rule, model, model).parameters["w"], model["w"])


@pytest.mark.parametrize("rule", RULES)
def test_what_is_no_floating_point_number_takes_the_mean_and_is_not_remembered(rule: Aggregation) -> None:
    model: dict[str, npt.NDArray[Any]] = {
        "n": np.array([5], np.int64),
        "b": np.array([False]),
        "half": np.ones((2, 1), np.float16),
        "brain": np.ones(1, ml_dtypes.bfloat16),
        "double": np.ones((), np.float64),
        "empty": np.ones((0, 3), np.float32),
    }
    mean: dict[str, npt.NDArray[Any]] = {**model, "n": np.array([9]), "b": np.array([True])}
    new = step(rule, model, mean)
    assert (new.parameters["n"][0], new.parameters["b"][0]) == (9, True)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in new.parameters.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in model.items()
    }
    assert new.state is not None
    assert {name: (tensor.dtype.name, tensor.shape) for name, tensor in new.state.items()} == {
        f"{moment}/{name}": (dtype, shape)
        for moment in ("first", "second")
        for name, dtype, shape in (
            ("half", "float32", (2, 1)),
            ("brain", "float32", (1,)),
            ("double", "float64", ()),
            ("empty", "float32", (0, 3)),
        )
    }


def test_moments_that_run_away_give_no_model() -> None:
    with pytest.raises(UnusableRound, match="moments of tensor 'w' are not finite"):
        step("fedadagrad", {"w": np.zeros(1, np.float32)}, {"w": np.array([1e30], np.float32)})


@pytest.mark.parametrize("rule", ["fedavg", "fedavgm", "median"])
def test_other_rules_remember_nothing(rule: Aggregation) -> None:
    assert step(rule, {"w": np.zeros(1)}, {"w": np.ones(1)}).state is None


@pytest.mark.parametrize("rule", get_args(Aggregation))
def test_a_rule_tells_what_another_training_needs_to_go_on_with_its_optimiser(rule: Aggregation) -> None:
    config = TrainingConfig(name="t", aggregation=rule)
    assert keeps_state(config) == (rule in RULES)  # the control variates of scaffold belong to one training
    assert reads_parent(config) == (rule == "fedavgm")
    with_momentum = replace(config, hyperparameters={"server_momentum": 0.5})
    assert reads_parent(with_momentum) == (rule in MEANS)
    assert not reads_parent(replace(config, hyperparameters={"server_momentum": 0.0}))
    nesterov = replace(config, hyperparameters={"server_momentum": 0.5, "server_nesterov": True})
    assert keeps_state(nesterov) == (rule in {*RULES, *MEANS})
    assert not reads_parent(nesterov)
