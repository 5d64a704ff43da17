"""How far updates went, and which went too far."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import check_norm, length, longest, outliers
from tcsfeel.errors import UpdateRejected

CONFIG = TrainingConfig(name="t", aggregation="fedadam")


def none() -> None:
    """Nothing to give back."""


def test_a_norm_is_over_all_floating_point_tensors_and_across_pieces() -> None:
    model: dict[str, Any] = {
        "w": np.ones((2, 200_000), np.float32), "half": np.zeros(1, np.float16), "n": np.zeros(1, np.int64),
        "brain": np.zeros(1, ml_dtypes.bfloat16), "e": np.zeros((0, 3), np.float32),
    }  # fmt: skip
    update = {name: tensor.copy() for name, tensor in model.items()}
    update["w"][0, 0], update["w"][-1, -1], update["half"][0], update["brain"][0] = 2.0, 3.0, 2.0, -4.0
    update["n"][0] = 1000
    assert check_norm(update, model, release=none) == 5.0  # 1 + 4 + 4 + 16
    assert length({"w": np.full(4, 3.0)}, release=none) == 6.0


@pytest.mark.parametrize("value", [2e15, 1e30, 3.4e38, -3.4e38])
def test_an_update_whose_square_the_optimisers_cannot_hold_is_rejected(value: float) -> None:
    model, far = {"w": np.zeros(3, np.float32)}, {"w": np.array([0, value, 0], np.float32)}
    with pytest.raises(UpdateRejected, match=r"too far from the model: by .*, at most 1e\+15 is allowed"):
        check_norm(far, model, release=none)
    assert check_norm(far, far, release=none) == 0.0


def test_the_longest_way_that_is_allowed_is_allowed() -> None:
    assert check_norm({"w": np.array([1e15])}, {"w": np.zeros(1)}, release=none) == 1e15


def test_squares_are_added_up_in_64_bits_and_what_is_no_number_has_no_length() -> None:
    assert length({"w": np.array([1e30], np.float32)}, release=none) == pytest.approx(1e30)
    endless = {"w": np.array([np.inf])}
    assert math.isnan(length(endless, endless, release=none))


@pytest.mark.parametrize("place", [0, 65_535, 65_536, 99_999])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_makes_the_norm_useless_wherever_it_is(place: int, value: float) -> None:
    model, update = np.zeros(100_000, np.float32), np.zeros(100_000, np.float32)
    update[place] = value
    assert not math.isfinite(length({"w": update}, {"w": model}, release=none))


@pytest.mark.parametrize("far", [1e-30, 1e-14, 1.0, 1e14, 1e25])
def test_differences_of_any_size_are_measured(far: float) -> None:
    update = {"w": np.full(100_000, far, np.float32)}
    assert length(update, {"w": np.zeros(100_000, np.float32)}, release=none) == pytest.approx(far * math.sqrt(1e5))


def test_memory_of_a_small_update_is_not_given_back_while_it_is_read() -> None:
    released = []
    small, large = np.zeros(1 << 18, np.float32), np.zeros(5 << 20, np.float32)  # 1 MiB, 20 MiB
    length({"w": small}, {"w": small}, release=lambda: released.append("small"))
    length({"w": large}, {"w": large}, release=lambda: released.append("large"))
    assert released == ["large", "large"]  # after each 16 MiB of 40, and not at the end


def test_a_difference_beyond_all_numbers_is_too_far() -> None:
    with pytest.raises(UpdateRejected, match="by inf, at most"):
        check_norm({"w": np.array([1.7e308])}, {"w": np.array([-1.7e308])}, release=none)


@pytest.mark.parametrize(
    ("norms", "model_norm", "found"),
    [
        ({"a": 1.0, "b": 1.0, "c": 1000.0}, 0.0, set()),
        ({"a": 1.0, "b": 1.0, "c": 1001.0}, 0.0, {"c"}),
        ({"a": 1.0, "b": 1.0, "c": 1001.0}, 1001.0, set()),  # no longer than the model
        ({"a": 1.0, "b": 1e9}, 0.0, set()),  # of two nobody can tell
        ({"a": 1.0, "b": 1.0, "c": 1e9, "d": 1e9}, 0.0, set()),  # nor of two halves
        ({"a": 1.0, "b": 1.0, "c": 1.0, "d": 1e9, "e": 1e10}, 0.0, {"d", "e"}),
        ({"a": 0.0, "b": 0.0, "c": 1e-9}, 0.0, set()),  # one that learns where no other does, and the model is zero
        ({"a": 0.0, "b": 0.0, "c": 2.0}, 1.0, {"c"}),
        ({}, 1.0, set()),
    ],
)
def test_an_outlier_is_longer_than_the_others_many_times_over(
    norms: dict[str, float], model_norm: float, found: set[str]
) -> None:
    assert set(outliers(norms, model_norm, CONFIG)) == found


def test_a_reason_gives_the_numbers_and_a_training_its_own_factor() -> None:
    norms = {"a": 2.0, "b": 2.0, "c": 12.0}
    assert outliers(norms, 0.0, CONFIG) == {}
    own = TrainingConfig(name="t", hyperparameters={"server_outlier_factor": 5.0})
    reason = "its update is far larger than the others: norm 12, the round's median is 2"
    assert outliers(norms, 0.0, own) == {"c": reason}
    assert longest(norms) == "the longest update is that of client 'c', with a norm of 12"
    assert longest({"a": 5.0, "b": 2.0}) == "the longest update is that of client 'a', with a norm of 5"


def test_robust_rules_are_given_outliers() -> None:
    assert outliers({"a": 1.0, "b": 1.0, "c": 1e9}, 0.0, TrainingConfig(name="t", aggregation="krum")) == {}


@given(
    norms=st.dictionaries(st.text(max_size=3), st.floats(0, 1e15), max_size=9),
    model_norm=st.floats(0, allow_infinity=False, allow_nan=False),
)
def test_fewer_than_half_are_outliers_whatever_the_numbers(norms: dict[str, float], model_norm: float) -> None:
    found = outliers(norms, model_norm, CONFIG)
    assert len(found) < max(1, math.ceil(len(norms) / 2))
    assert all(norms[name] > norms[other] for name in found for other in norms.keys() - found.keys())
