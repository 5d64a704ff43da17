"""FedNova against the formula of its paper, and what a client gains by a false number of steps."""

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
from tcsfeel.aggregation.weights import bounded_steps
from tcsfeel.errors import UpdateRejected
from tests.depth import tries
from tests.tcsfeel.models import assembled


def aggregated(
    model: Parameters,
    *updates: tuple[Parameters, int, int],
    rule: Aggregation = "fednova",
    before: Parameters | None = None,
    **hyperparameters: float,
) -> dict[str, npt.NDArray[Any]]:
    """The new model from updates, each with its examples and its steps."""
    config = TrainingConfig(name="t", aggregation=rule, hyperparameters=hyperparameters)
    facts = [UpdateFacts(examples, 1.0, num_steps=steps) for _, examples, steps in updates]
    return assembled(next_model(config, Updates(model, [one for one, *_ in updates]), facts, before=before), model)


def tensor(*values: float) -> npt.NDArray[np.float64]:
    return np.array(values, np.float64)


def test_two_clients_by_hand() -> None:
    # shares 1/4 and 3/4; steps 2 and 4: each step of the first moved w by 1, of the second by 2
    # T = 1/4 * 2 + 3/4 * 4 = 3.5; 10 + 3.5 * (1/4 * 1 + 3/4 * 2) = 16.125
    new = aggregated({"w": tensor(10)}, ({"w": tensor(12)}, 10, 2), ({"w": tensor(18)}, 30, 4))
    np.testing.assert_allclose(new["w"], [16.125], rtol=1e-15)


def test_clients_of_one_optimum_each_are_averaged_as_if_all_took_as_many_steps() -> None:
    """The paper's point: the mean of plain updates lies nearer to the client with more steps."""
    model, one, other = {"w": tensor(0)}, {"w": tensor(-1)}, {"w": tensor(9)}  # 1 step of -1, 9 steps of 1 each
    nova, plain = (aggregated(model, (one, 5, 1), (other, 5, 9), rule=rule) for rule in ("fednova", "fedavg"))
    np.testing.assert_allclose(nova["w"], [0.0], atol=1e-15)
    np.testing.assert_allclose(plain["w"], [4.0])


def test_statistics_and_integers_are_averaged_as_they_are() -> None:
    model = {"w": tensor(0), "bn.running_var": tensor(1), "n": np.array([0])}
    one = {"w": tensor(1), "bn.running_var": tensor(0.5), "n": np.array([4])}
    other = {"w": tensor(8), "bn.running_var": tensor(0.25), "n": np.array([8])}
    new = aggregated(model, (one, 1, 1), (other, 1, 8))
    np.testing.assert_allclose(new["w"], [4.5 * 1.0])  # T = 4.5, a step moves both by 1
    np.testing.assert_allclose(new["bn.running_var"], [0.375])
    np.testing.assert_array_equal(new["n"], [6])


def test_server_rate_and_momentum_work_as_in_fedavgm() -> None:
    # the mean is 16.125 as above, 6.125 from the model, which came 2 from the one before: 10 + 0.5 * 6.125 + 0.1 * 2
    updates = ({"w": tensor(12)}, 10, 2), ({"w": tensor(18)}, 30, 4)
    given: dict[str, Any] = {"server_learning_rate": 0.5, "server_momentum": 0.1}
    new = aggregated({"w": tensor(10)}, *updates, before={"w": tensor(8)}, **given)
    np.testing.assert_allclose(new["w"], [13.2625])
    plain = aggregated({"w": tensor(10)}, *updates, before={"w": tensor(8)})
    np.testing.assert_allclose(plain["w"], [16.125])


def test_steps_are_taken_value_by_value_across_blocks() -> None:
    model, one, other = (np.zeros(LARGEST_BLOCK + 1) for _ in range(3))
    model[-1], one[-1], other[-1], one[0] = 10.0, 12.0, 18.0, 2.0
    new = aggregated({"w": model}, ({"w": one}, 10, 2), ({"w": other}, 30, 4))
    np.testing.assert_allclose(new["w"][[0, 1, -1]], [0.875, 0.0, 16.125])  # 3.5 * 1/4 * 1; 0; as above


def test_an_update_without_steps_counts_as_one_step() -> None:
    config = TrainingConfig(name="t", aggregation="fednova")
    model, one, other = {"w": tensor(0)}, {"w": tensor(1)}, {"w": tensor(9)}
    facts = [UpdateFacts(5, 1.0), UpdateFacts(5, 1.0, num_steps=9)]
    new = assembled(next_model(config, Updates(model, [one, other]), facts), model)
    np.testing.assert_allclose(new["w"], aggregated(model, (one, 5, 1), (other, 5, 9))["w"], rtol=0)


@tries(100)
@given(
    clients=st.lists(
        st.tuples(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=2), st.integers(1, 10**6)),
        min_size=1,
        max_size=6,
    ),
    steps=st.integers(1, 10**12),
)
def test_equally_many_steps_are_fedavg_to_the_bit(clients: list[tuple[list[float], int]], steps: int) -> None:
    model = {"w": np.array([0.1, -7], np.float32)}
    updates = [({"w": np.array(drawn, np.float32)}, examples, steps) for drawn, examples in clients]
    np.testing.assert_array_equal(aggregated(model, *updates)["w"], aggregated(model, *updates, rule="fedavg")["w"])


@tries(100)
@given(
    clients=st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(1, 1000), st.integers(10, 99)), min_size=1, max_size=6)
)
def test_it_is_the_papers_formula(clients: list[tuple[float, int, int]]) -> None:
    total = sum(examples for _, examples, _ in clients)
    average_steps = sum(examples / total * steps for _, examples, steps in clients)
    wanted = 2.0 + average_steps * sum(examples / total * (moved / steps) for moved, examples, steps in clients)
    updates = [({"w": tensor(2 + moved)}, examples, steps) for moved, examples, steps in clients]
    unbounded: dict[str, Any] = {"server_largest_share": 1.0, "server_largest_multiple": 1e12}
    assert aggregated({"w": tensor(2)}, *updates, **unbounded)["w"][0] == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize(
    ("steps", "counted"),
    [
        ([], []),
        ([7], [7]),
        ([10, 20, 30], [10, 20, 30]),
        ([1, 100, 100], [10, 100, 100]),
        ([10**12, 5, 5], [50, 5, 5]),
        ([10**12, 5], [50, 5]),  # of two the median is the lower one
    ],
)
def test_a_number_of_steps_far_from_the_median_counts_as_ten_times_less_or_more(
    steps: list[int], counted: list[float]
) -> None:
    config = TrainingConfig(name="t")
    assert bounded_steps(steps, config) == counted
    wide = TrainingConfig(name="t", hyperparameters={"server_largest_multiple": 1e12})
    assert bounded_steps(steps, wide) == steps


def test_one_false_number_of_steps_moves_the_model_by_a_bounded_multiple() -> None:
    honest = [({"w": tensor(1)}, 10, 100)] * 9
    for claim in (1, 10**12):
        new = aggregated({"w": tensor(0)}, *honest, ({"w": tensor(1)}, 10, claim))
        assert 0.5 < float(new["w"][0]) < 2.0


def test_an_update_without_steps_is_rejected_with_what_to_do() -> None:
    check_weighable(UpdateFacts(1, 1.0, num_steps=3), "fednova")
    check_weighable(UpdateFacts(1, 1.0), "fedavg")
    with pytest.raises(UpdateRejected) as refused:
        check_weighable(UpdateFacts(1, 1.0), "fednova")
    assert str(refused.value) == (
        "its result has no num_steps, by which the aggregation rule 'fednova' divides updates;"
        " let the trainer report the number of its local steps, or choose another rule"
    )
