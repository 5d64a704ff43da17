"""Aggregation, by hand."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import (
    WEIGHTS,
    Parameters,
    UpdateFacts,
    Updates,
    next_model,
)
from tcsfeel.aggregation.blocks import LARGEST_BLOCK
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.errors import UnusableRound
from tcsfeel.wire.headers import DTYPES
from tests.tcsfeel.models import assembled

FACTS = UpdateFacts(num_examples=10, loss=1.0, metrics={"accuracy": 0.5})


def f32(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def config(rule: Aggregation = "fedavg", **hyperparameters: float) -> TrainingConfig:
    return TrainingConfig(name="t", aggregation=rule, hyperparameters=hyperparameters)


def aggregated(
    model: Parameters, *updates: tuple[Parameters, int], rule: Aggregation = "fedavg", **hyperparameters: float
) -> dict[str, npt.NDArray[Any]]:
    """The new model from updates, each with its number of examples."""
    clip = hyperparameters.get("server_clip_norm", math.inf)
    given = Updates(model, [update for update, _ in updates], clip_norm=clip)
    facts = [UpdateFacts(examples, 1.0, {"accuracy": 0.5}) for _, examples in updates]
    return assembled(next_model(config(rule, **hyperparameters), given, facts), model)


def stepped(
    given: TrainingConfig, model: Parameters, before: Parameters | None, mean: Parameters
) -> dict[str, npt.NDArray[Any]]:
    """The new model where the updates' mean is `mean`."""
    updates = Updates(model, [mean])
    return assembled(next_model(given, updates, [UpdateFacts(1, 1.0, {"accuracy": 0.5})], before=before), model)


def only(result: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    assert list(result) == ["w"]
    return result["w"]


@pytest.mark.parametrize(
    ("rule", "weight"),
    [
        ("fedavg", 10.0),
        ("fedprox", 10.0),
        ("fedavgm", 10.0),
        ("fedadam", 10.0),
        ("fedyogi", 10.0),
        ("fedadagrad", 10.0),
        ("weighted", 5.0),  # 10 * 0.5
        ("fednova", 10.0),
        ("scaffold", 1.0),
    ],
)
def test_what_an_update_weighs(rule: Aggregation, weight: float) -> None:
    assert WEIGHTS[rule](FACTS) == weight


def test_the_mean_of_updates_by_their_weights() -> None:
    model = {"w": f32(9, 9), "b": f32(9)}
    mean = aggregated(model, ({"w": f32(1, 2), "b": f32(0)}, 10), ({"w": f32(5, 6), "b": f32(8)}, 30))
    np.testing.assert_array_equal(mean["w"], f32(4, 5))  # (10 * 1 + 30 * 5) / 40, (10 * 2 + 30 * 6) / 40
    np.testing.assert_array_equal(mean["b"], f32(6))  # 30 * 8 / 40


def test_an_update_of_no_weight_counts_nothing() -> None:
    result = only(aggregated({"w": f32(0)}, ({"w": f32(3)}, 4), ({"w": f32(1e30)}, 0)))
    np.testing.assert_array_equal(result, f32(3))
    result = only(aggregated({"w": f32(0)}, ({"w": f32(3)}, 4), ({"w": f32(np.inf)}, 0)))
    np.testing.assert_array_equal(result, f32(3))  # 0 times infinity would be no number


def test_an_update_without_an_accuracy_has_no_weight_where_the_accuracy_weighs() -> None:
    assert WEIGHTS["weighted"](UpdateFacts(10, 1.0)) == 0.0


def test_the_mean_of_one_update_is_that_update_to_the_bit() -> None:
    update = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(only(aggregated({"w": update * 0}, ({"w": update}, 7))), update)


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [(np.float64, 1.7e308), (np.float32, 3.4e38), (np.float16, 65504.0), (ml_dtypes.bfloat16, 3.38e38)],
)
def test_values_at_the_end_of_their_dtype_have_a_mean(dtype: type[Any], largest: float) -> None:
    huge = {"w": np.array([largest, -1.0], dtype)}
    np.testing.assert_array_equal(only(aggregated(huge, (huge, 5000), (huge, 5000))), huge["w"])


def test_a_mean_of_float32_is_within_some_units_of_the_exact_one() -> None:
    rng = np.random.default_rng(5)
    drawn = rng.standard_normal((100, 3000)).astype(np.float32)
    examples = rng.integers(1, 1000, 100)
    updates = [({"w": row}, int(count)) for row, count in zip(drawn, examples, strict=True)]
    result = only(aggregated({"w": f32(*[0] * 3000)}, *updates))
    exact = np.average(drawn.astype(np.float64), axis=0, weights=examples)
    assert np.abs(result - exact).max() < 4 * np.finfo(np.float32).eps * np.abs(drawn).mean()


def test_half_precision_is_summed_in_more_than_half_precision() -> None:
    for dtype in (np.float16, ml_dtypes.bfloat16):
        model = {"w": np.ones(1, dtype)}
        step = np.spacing(dtype(1))  # what 4096 times 1 + 2^-n is rounded to, step by step, is far off
        assert only(aggregated(model, *[({"w": np.array([1 + step], dtype)}, 1)] * 4096))[0] == dtype(1) + step


@pytest.mark.parametrize("updates", [[], [({"w": f32(1)}, 0)], [({"w": f32(1)}, 0), ({"w": f32(2)}, 0)]])
def test_updates_that_weigh_nothing_give_no_model(updates: list[tuple[Parameters, int]]) -> None:
    with pytest.raises(UnusableRound, match="add up to zero"):
        aggregated({"w": f32(0)}, *updates)


def test_an_update_that_went_too_far_is_shortened_over_all_its_tensors() -> None:
    # from (1, 1) to (4, 5): 3 and 4, a way of 5, of which 2.5 are allowed; the other one went 1
    model = {"w": f32(1).reshape(1, 1), "b": f32(1)}
    far, near = {"w": f32(4).reshape(1, 1), "b": f32(5)}, {"w": f32(1).reshape(1, 1), "b": f32(2)}
    clipped = aggregated(model, (far, 1), (near, 1), server_clip_norm=2.5)
    np.testing.assert_array_equal(clipped["w"], f32((2.5 + 1) / 2).reshape(1, 1))
    np.testing.assert_array_equal(clipped["b"], f32((3 + 2) / 2))


def test_what_is_learnt_counts_for_the_length_behind_a_tensor_that_is_not() -> None:
    model, far = {"n": np.array([1]), "w": np.array([0.0])}, {"n": np.array([100]), "w": np.array([4.0])}
    np.testing.assert_array_equal(aggregated(model, (far, 1), server_clip_norm=1.0)["w"], [1.0])


def test_what_is_no_mean_sees_shortened_updates_as_well() -> None:
    # the same way of 5, of which 2.5 are allowed, in the last block of a tensor of two
    model, far = np.zeros(LARGEST_BLOCK + 2), np.zeros(LARGEST_BLOCK + 2)
    model[-2:], far[-2:] = (1, 1), (4, 5)
    clipped = only(aggregated({"w": model}, ({"w": far}, 1), rule="median", server_clip_norm=2.5))
    np.testing.assert_array_equal(clipped[-4:], [0, 0, 2.5, 3])


def test_what_is_not_shortened_is_left_to_the_bit() -> None:
    # 1e16 + (1 - 1e16) would be 0
    assert only(aggregated({"w": np.array([1e16])}, ({"w": np.array([1.0])}, 1), rule="median")) == 1.0


def test_an_update_of_just_the_allowed_length_is_left_as_it_is() -> None:
    update = {"w": f32(4, 5)}
    np.testing.assert_array_equal(only(aggregated({"w": f32(1, 1)}, (update, 1), server_clip_norm=5.0)), update["w"])


@pytest.mark.parametrize("rule", ["fedavg", "median"])
def test_a_length_beyond_all_numbers_is_shortened_to_nothing(rule: Aggregation) -> None:
    model = {"w": np.array([-1e308, 1.0])}
    far = {"w": np.array([1e308, 5.0])}
    np.testing.assert_array_equal(only(aggregated(model, (far, 1), rule=rule, server_clip_norm=1.0)), model["w"])


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (1, 2, 3)])
def test_the_new_model_has_the_dtypes_and_shapes_of_the_old(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    model = {"w": np.ones(shape, dtype)}
    result = only(aggregated(model, (model, 3), (model, 4)))
    assert (result.dtype, result.shape) == (dtype, shape)
    np.testing.assert_array_equal(result, model["w"])


@pytest.mark.parametrize(
    ("values", "weights", "mean"),
    [
        ([1, 2], [1, 2], 2),  # 5 / 3 = 1.67
        ([1, 4], [2, 1], 2),
        ([1, 2], [2, 1], 1),  # 4 / 3
        ([-1, -2], [1, 2], -2),
        ([7, 8], [1, 1], 8),  # 7.5, to the even one
    ],
)
def test_integers_are_rounded_to_the_nearest(values: list[int], weights: list[int], mean: int) -> None:
    updates = [({"w": np.array([value], np.int64)}, weight) for value, weight in zip(values, weights, strict=True)]
    assert only(aggregated({"w": np.zeros(1, np.int64)}, *updates)) == mean


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64])
def test_the_ends_of_an_integers_range_do_not_wrap_around(dtype: type[Any]) -> None:
    limits = np.iinfo(dtype)
    for end in (limits.min, limits.max):
        tensor = {"w": np.array([end], dtype)}
        result = int(only(aggregated(tensor, (tensor, 1), (tensor, 2)))[0])
        assert result == pytest.approx(end, rel=2**-50)  # 64 bits are more than a float64 tells apart
        assert (result < 0) == (end < 0)


@pytest.mark.parametrize(("votes", "result"), [([1, 1, 0], True), ([1, 0, 0], False), ([1, 0], False)])
def test_a_bool_is_what_most_say(votes: list[int], result: bool) -> None:
    updates = [({"w": np.array([vote], np.bool_)}, 1) for vote in votes]
    assert only(aggregated({"w": np.zeros(1, np.bool_)}, *updates)) == result


def test_a_mean_that_leaves_its_dtype_gives_no_model() -> None:
    with pytest.raises(UnusableRound, match="'w' of the new model is not finite"):
        stepped(config(), {"w": np.zeros(1, np.float16)}, None, {"w": np.array([1e5])})
    with pytest.raises(UnusableRound, match="not finite"):
        stepped(config(), {"w": np.zeros(1, np.int32)}, None, {"w": np.array([np.inf])})


@pytest.mark.parametrize("rule", ["fedavg", "fedprox", "weighted"])
def test_other_rules_take_the_mean_as_it_is(rule: Aggregation) -> None:
    given = config(rule, server_learning_rate=0.5, server_momentum=0.5)
    result = stepped(given, {"w": f32(10)}, {"w": f32(0)}, {"w": np.array([20.0])})
    np.testing.assert_array_equal(only(result), f32(20))


@pytest.mark.parametrize(
    ("hyperparameters", "before", "result"),
    [
        ({}, None, 20.0),  # 10 + 1 * (20 - 10): the first step has no momentum
        ({}, 8.0, 21.8),  # + 0.9 * (10 - 8)
        ({"server_momentum": 0.5}, 8.0, 21.0),
        ({"server_learning_rate": 0.5}, 8.0, 16.8),  # 10 + 0.5 * 10 + 0.9 * 2
        ({"server_learning_rate": 0.5, "server_momentum": 0.0}, 8.0, 15.0),
    ],
)
def test_server_momentum_goes_on_in_the_direction_of_the_last_step(
    hyperparameters: dict[str, float], before: float | None, result: float
) -> None:
    past = None if before is None else {"w": f32(before)}
    found = stepped(config("fedavgm", **hyperparameters), {"w": f32(10)}, past, {"w": np.array([20.0])})
    np.testing.assert_allclose(only(found), f32(result), rtol=1e-6)


def test_server_momentum_is_taken_value_by_value_across_blocks() -> None:
    model, before, mean = (np.zeros(LARGEST_BLOCK + 2) for _ in range(3))
    model[-1], before[-1], mean[-1], before[0] = 10.0, 8.0, 20.0, 1.0
    result = only(stepped(config("fedavgm"), {"w": model}, {"w": before}, {"w": mean}))
    assert (result[0], result[-2], result[-1]) == pytest.approx((-0.9, 0.0, 21.8))  # 0.9 * (0 - 1); as above


def test_momentum_that_runs_away_gives_no_model() -> None:
    model, before = {"w": np.array([1e308])}, {"w": np.array([-1e308])}
    with pytest.raises(UnusableRound, match="not finite"):
        stepped(config("fedavgm"), model, before, {"w": np.array([1e308])})
    with pytest.raises(UnusableRound, match="not finite"):  # away from the mean as fast as towards it
        stepped(config("fedavgm"), before, model, {"w": np.array([1e308])})
