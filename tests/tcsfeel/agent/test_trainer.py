"""Hyperparameters as the trainer's author wants them."""

from typing import Any

import pytest

from tcsfeel.agent import hyperparameter
from tests.tcsfeel.agent.fakes import make_task


@pytest.mark.parametrize(
    ("given", "default", "value"),
    [(3, 1, 3), (3.0, 1, 3), (0.5, 0.1, 0.5), (1, 0.1, 1.0), (0, 7, 0), (None, 0.1, 0.1)],
)
def test_a_number_comes_as_the_type_of_its_default(given: Any, default: float, value: float) -> None:
    found = hyperparameter(make_task(x=given), "x", default)

    assert found == value
    assert type(found) is type(default)


def test_what_the_task_does_not_say_is_the_default() -> None:
    assert hyperparameter(make_task(), "learning_rate", 0.1) == 0.1


@pytest.mark.parametrize(("given", "default"), [("3", 1), (True, 1), (1.5, 1), ("0.1", 0.1), (False, 0.1)])
def test_what_is_no_such_number_is_refused(given: Any, default: float) -> None:
    with pytest.raises(TypeError, match="hyperparameter 'x' must be"):
        hyperparameter(make_task(x=given), "x", default)
