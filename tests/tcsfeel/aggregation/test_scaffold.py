"""SCAFFOLD's step at the server, against the formulas of its paper."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import Parameters, UpdateFacts, Updates, check_weighable, next_model
from tcsfeel.aggregation.blocks import LARGEST_BLOCK
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.scaffold import zeros
from tcsfeel.errors import ModelNotFinite, UnusableRound, UpdateRejected
from tests.depth import tries
from tests.tcsfeel.models import assembled


def aggregated(
    model: Parameters,
    *updates: tuple[Parameters, int, int],
    state: Parameters | None = None,
    population: int | None = None,
    rule: Aggregation = "scaffold",
    **hyperparameters: float,
) -> tuple[dict[str, npt.NDArray[Any]], Parameters]:
    """The new model and control variates from updates, each with its examples and its steps."""
    config = TrainingConfig(name="t", aggregation=rule, hyperparameters=hyperparameters)
    facts = [UpdateFacts(examples, 1.0, num_steps=steps) for _, examples, steps in updates]
    given = Updates(model, [one for one, *_ in updates])
    new = next_model(config, given, facts, state=state, population=population)
    result = assembled(new, model)
    return result, new.optimiser.state() or {}


def tensor(*values: float) -> npt.NDArray[np.float64]:
    return np.array(values, np.float64)


def test_two_clients_by_hand() -> None:
    # c is 1. The first moved by -2 in 2 steps at the rate 0.5: d = 2 / (2 * 0.5) - 1 = 1; the second by -6 in 3 steps:
    # d = 6 / (3 * 0.5) - 1 = 3. They are 2 of 4 clients: c = 1 + (1 + 3) / 4 = 2
    updates = ({"w": tensor(8)}, 10, 2), ({"w": tensor(4)}, 10, 3)
    given: dict[str, Any] = {"learning_rate": 0.5}
    model, control = aggregated({"w": tensor(10)}, *updates, state={"w": tensor(1)}, population=4, **given)
    np.testing.assert_allclose(model["w"], [6.0])
    np.testing.assert_allclose(control["w"], [2.0])


def test_control_variates_change_value_by_value_across_blocks() -> None:
    # as above in the last value; where nothing moves, a c of 1 becomes 1 - (1 + 1) / 4 = 0.5, and a c of 0 stays
    model, one, other, past = (np.zeros(LARGEST_BLOCK + 2) for _ in range(4))
    model[-1], one[-1], other[-1], past[-1], past[0] = 10.0, 8.0, 4.0, 1.0, 1.0
    updates = ({"w": one}, 10, 2), ({"w": other}, 10, 3)
    new, control = aggregated({"w": model}, *updates, state={"w": past}, population=4, learning_rate=0.5)
    np.testing.assert_allclose(new["w"][[0, -2, -1]], [0.0, 0.0, 6.0])
    np.testing.assert_allclose(control["w"][[0, 1, -2, -1]], [0.5, 0.0, 0.0, 2.0])


@pytest.mark.parametrize("claim", [1, 30, 10**12])
def test_the_examples_that_a_client_claims_change_nothing(claim: int) -> None:
    # d is 2 and 4 as c is 0
    updates = ({"w": tensor(8)}, 10, 2), ({"w": tensor(4)}, claim, 3)
    model, control = aggregated({"w": tensor(10)}, *updates, population=8, learning_rate=0.5)
    np.testing.assert_allclose(model["w"], [6.0])
    np.testing.assert_allclose(control["w"], [(2 + 4) / 8])


def test_where_all_take_part_the_control_variate_is_the_mean_of_theirs() -> None:
    updates = ({"w": tensor(8)}, 10, 2), ({"w": tensor(4)}, 10, 2)
    for population in (2, 1, None):  # clients that were removed meanwhile do not make it larger than all
        _, control = aggregated({"w": tensor(10)}, *updates, state={"w": tensor(7)}, population=population)
        np.testing.assert_allclose(control["w"], [(2 / (2 * 0.1) + 6 / (2 * 0.1)) / 2])


def test_the_server_may_take_another_rate() -> None:
    updates = ({"w": tensor(8)}, 10, 2), ({"w": tensor(4)}, 10, 3)
    model, _ = aggregated({"w": tensor(10)}, *updates, server_learning_rate=0.5)
    np.testing.assert_allclose(model["w"], [8.0])


def test_statistics_and_integers_have_no_control_variate() -> None:
    model = {"w": tensor(1), "bn.running_var": tensor(1), "n": np.array([1])}
    other = {"w": tensor(2), "bn.running_var": tensor(0.5), "n": np.array([3])}
    new, control = aggregated(model, (other, 1, 1), server_learning_rate=0.5)
    assert list(control) == ["w"]
    np.testing.assert_array_equal([new["w"][0], new["bn.running_var"][0], new["n"][0]], [1.5, 0.5, 3])


@pytest.mark.parametrize(("dtype", "kept"), [(np.float16, np.float32), (np.float32, np.float32), (float, np.float64)])
def test_control_variates_are_kept_in_float32_or_wider(dtype: type[Any], kept: type[Any]) -> None:
    model = {"w": np.ones((2, 3), dtype)}
    _, control = aggregated(model, (model, 1, 1))
    assert (control["w"].dtype, control["w"].shape) == (np.dtype(kept), (2, 3))
    first = zeros(model, ["w"])["w"]
    assert (first.dtype, first.shape) == (np.dtype(kept), (2, 3))
    assert not first.any()


@tries(100)
@given(
    clients=st.lists(
        st.tuples(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=2), st.integers(1, 99)),
        min_size=1,
        max_size=6,
    ),
    examples=st.integers(1, 10**6),
)
def test_with_equally_many_examples_the_model_is_that_of_fedavg_to_the_bit(
    clients: list[tuple[list[float], int]], examples: int
) -> None:
    model = {"w": np.array([0.1, -7], np.float32)}
    updates = [({"w": np.array(drawn, np.float32)}, examples, steps) for drawn, steps in clients]
    scaffold, plain = aggregated(model, *updates)[0], aggregated(model, *updates, rule="fedavg")[0]
    np.testing.assert_array_equal(scaffold["w"], plain["w"])


@pytest.mark.parametrize("claim", [1, 10**12])
def test_a_false_number_of_steps_changes_the_control_variate_by_a_bounded_multiple(claim: int) -> None:
    honest = [({"w": tensor(1)}, 10, 100)] * 9
    _, fair = aggregated({"w": tensor(0)}, *honest, ({"w": tensor(1)}, 10, 100))
    _, found = aggregated({"w": tensor(0)}, *honest, ({"w": tensor(1)}, 10, claim))
    assert 0.9 <= float(found["w"][0] / fair["w"][0]) < 2.0


def test_a_control_variate_that_is_not_finite_gives_no_model() -> None:
    with pytest.raises(ModelNotFinite, match="the control variate of tensor 'w' is not finite"):
        aggregated({"w": np.zeros(1, np.float32)}, ({"w": np.full(1, 1e38, np.float32)}, 1, 1), learning_rate=1e-3)


def test_updates_that_weigh_nothing_give_no_model() -> None:
    with pytest.raises(UnusableRound, match="add up to zero"):
        aggregated({"w": tensor(0)})


def test_an_update_without_steps_is_rejected() -> None:
    with pytest.raises(UpdateRejected, match="no num_steps, by which the aggregation rule 'scaffold'"):
        check_weighable(UpdateFacts(1, 1.0), "scaffold")
