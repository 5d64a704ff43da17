"""Control variates beside a model in one file."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tcsfeel.wire.control import joined, separated
from tcsfeel.wire.errors import MalformedParameters
from tcsfeel.wire.headers import MAX_NAME, MAX_TENSORS
from tcsfeel.wire.tasks import Task, read_task, task_metadata

MODEL = {"w": np.ones(2, np.float32), "n": np.array([1])}


def task(control_round: int | None = 0) -> Task:
    return Task(
        id="t.1.a.fit", kind="fit", training_id="t", round=1, deadline_seconds=60.0, control_round=control_round
    )


def f32(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def test_what_was_joined_is_separated_again() -> None:
    sent = joined(MODEL, {"w": f32(3, 4)})
    assert list(sent) == ["w", "n", "control/w"]
    given, model = separated(task(), sent)
    assert list(model) == ["w", "n"]
    assert list(given.correction) == ["w"]
    np.testing.assert_array_equal(given.correction["w"], f32(3, 4))


def test_a_task_without_control_variates_may_have_tensors_of_any_name() -> None:
    given = {"control/w": f32(1)}
    assert separated(task(None), given) == (task(None), given)


def test_the_round_travels_and_the_correction_does_not() -> None:
    given, _ = separated(task(7), joined(MODEL, {"w": f32(3, 4)}))
    read = read_task(task_metadata(given))
    assert (read.control_round, dict(read.correction)) == (7, {})


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"control/v": f32(1, 1)}, "'control/v' belongs to no tensor"),
        ({"control/w": f32(1)}, r"'control/w' is float32\[1\], its tensor is float32\[2\]"),
        ({"control/w": np.ones(2)}, r"'control/w' is float64\[2\], its tensor is float32\[2\]"),
        ({"control/n": np.array([1])}, r"'control/n' is int64\[1\]"),
    ],
)
def test_control_variates_that_do_not_fit_are_refused(tensors: dict[str, npt.NDArray[Any]], reason: str) -> None:
    with pytest.raises(MalformedParameters, match=reason):
        separated(task(), {**MODEL, **tensors})


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"control/w": f32(1)}, "'control/w' has the name of a control variate"),
        ({"w" * (MAX_NAME - 7): f32(1)}, "has a name that is too long for a control variate"),
        (dict.fromkeys(map(str, range(MAX_TENSORS // 2 + 1)), f32(1)), f"may have {MAX_TENSORS} tensors in all"),
    ],
)
def test_a_model_that_leaves_no_room_for_control_variates_is_refused(
    model: dict[str, npt.NDArray[Any]], reason: str
) -> None:
    with pytest.raises(MalformedParameters, match=reason):
        joined(model, model)
