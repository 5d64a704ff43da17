"""What an update must be to be aggregated, and what is said of those that came."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from tcsfeel.aggregation import Parameters, UpdateFacts, check_model, check_update, check_weighable, update_quality
from tcsfeel.errors import Invalid, UpdateRejected

FACTS = UpdateFacts(num_examples=10, loss=1.0, metrics={"accuracy": 0.5})


def f32(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


MODEL: dict[str, npt.NDArray[Any]] = {"w": f32(1, 2), "n": np.array(3, np.int64)}


def test_an_update_like_the_model_may_be_averaged() -> None:
    check_update(MODEL, MODEL, FACTS, data_size=7)  # 10 examples are plausible for seven samples, one and a half times


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ({}, r"missing \['n', 'w'\], unknown \[\]"),
        ({"w": MODEL["w"]}, r"missing \['n'\], unknown \[\]"),
        ({**MODEL, "x": f32(1)}, r"missing \[\], unknown \['x'\]"),
        ({**MODEL, **{name: f32(1) for name in "dcba"}}, r"unknown \['a', 'b', 'c'\]$"),
        ({**MODEL, "w": f32(1, 2, 3)}, r"tensor 'w' is float32\[3\], the model's is float32\[2\]"),
        ({**MODEL, "w": f32(1, 2).reshape(2, 1)}, r"float32\[2, 1\]"),
        ({**MODEL, "w": np.array([1.0, 2.0])}, r"float64\[2\], the model's is float32\[2\]"),
        ({**MODEL, "n": np.array([3], np.int64)}, r"tensor 'n' is int64\[1\], the model's is int64\[\]"),
        ({**MODEL, "w": f32(1, np.nan)}, r"tensor 'w' holds values that are not finite"),
        ({**MODEL, "w": f32(np.inf, 1)}, r"not finite"),
        ({**MODEL, "w": f32(-np.inf, 1)}, r"not finite"),
        ({**MODEL, "w": np.array([1, 2], ml_dtypes.bfloat16)}, r"tensor 'w' is bfloat16\[2\]"),
    ],
)
def test_why_an_update_is_rejected(update: Parameters, reason: str) -> None:
    with pytest.raises(UpdateRejected, match=reason):
        check_update(update, MODEL, FACTS, data_size=10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("place", [0, 1 << 20, (1 << 20) + 1])
def test_no_value_of_a_large_tensor_is_overlooked(dtype: type[Any], place: int) -> None:
    model = {"w": np.zeros((2, (1 << 19) + 1), dtype)}
    update = {"w": model["w"].copy()}
    update["w"].reshape(-1)[place] = np.nan
    released: list[int] = []
    check_update(model, model, FACTS, data_size=10, release=lambda: released.append(1))
    assert len(released) == math.ceil(model["w"].nbytes / (1 << 20))
    with pytest.raises(UpdateRejected, match="not finite"):
        check_update(update, model, FACTS, data_size=10)


def test_the_first_three_missing_tensors_are_named() -> None:
    with pytest.raises(UpdateRejected, match=r"missing \['a', 'b', 'c'\], unknown \[\]$"):
        check_update({}, {name: f32(1) for name in "dcba"}, FACTS, data_size=10)


def test_a_claim_of_more_examples_than_anybody_believes_is_rejected() -> None:
    check_update(MODEL, MODEL, UpdateFacts(15, 1.0, {"accuracy": 0.5}), data_size=10)
    with pytest.raises(UpdateRejected, match=r"num_examples is not plausible: 16 is more than 1\.5 x data_size 10"):
        check_update(MODEL, MODEL, UpdateFacts(16, 1.0, {"accuracy": 0.5}), data_size=10)


def test_a_tensors_name_of_a_megabyte_does_not_make_a_reason_of_a_megabyte() -> None:
    with pytest.raises(UpdateRejected) as caught:
        check_update({**MODEL, "x" * 10**6: f32(1)}, MODEL, FACTS, data_size=10)
    assert len(str(caught.value)) == 300


@pytest.mark.parametrize(("loss", "quality"), [(0.0, 1.0), (1.0, 0.36788), (-5.0, 1.0), (1e9, 0.0)])
def test_quality_falls_with_the_loss(loss: float, quality: float) -> None:
    assert update_quality(loss) == pytest.approx(quality, abs=1e-5)


def test_a_first_model_needs_tensors_with_finite_values() -> None:
    check_model({"w": np.ones(2, np.float32), "n": np.ones(2, np.int64)})
    with pytest.raises(Invalid, match=r"^the file holds no tensor$") as empty:
        check_model({})
    assert empty.value.pointer == ""
    with pytest.raises(Invalid, match=r"^tensor 'a/~b' holds values that are not finite$") as refused:
        check_model({"a/~b": np.array([np.inf], np.float32)})
    assert refused.value.pointer == "/a~1~0b"


def test_an_update_without_the_accuracy_that_weighs_it_is_rejected_with_what_to_do() -> None:
    check_weighable(FACTS, "weighted")
    check_weighable(UpdateFacts(1, 1.0), "fedavg")
    with pytest.raises(UpdateRejected) as refused:
        check_weighable(UpdateFacts(1, 1.0), "weighted")
    assert str(refused.value) == (
        "its result has no accuracy, by which the aggregation rule 'weighted' weighs updates;"
        " let the trainer report one, or choose another rule"
    )
