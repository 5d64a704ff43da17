"""A strategy's own parameters."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tcsfeel.errors import Invalid
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import (
    STRATEGIES,
    History,
    Parameter,
    Selection,
    SelectionPolicy,
    parameters_of,
    select,
    tunable,
    unfit,
)
from tcsfeel.selection.random import random
from tests.tcsfeel.worlds import candidates

CHANCE = Parameter(name="chance", default=0.25, minimum=0, maximum=1, meaning="of something")
DEPTH = Parameter(name="depth", default=3, minimum=1, maximum=8, meaning="of something else")


def test_a_strategys_parameters_can_be_asked_for() -> None:
    assert parameters_of(tunable(CHANCE, DEPTH)(random)) == (CHANCE, DEPTH)
    assert parameters_of(random) == ()


def seen(parameters: Mapping[str, float]) -> Mapping[str, float]:
    """The parameters that a strategy with two of them is called with."""
    found: list[Mapping[str, float]] = []

    @tunable(CHANCE, DEPTH)
    def strategy(*arguments: Any, **keywords: Any) -> Selection:
        found.append(arguments[3].parameters)
        return random(*arguments, **keywords)

    policy = SelectionPolicy(min_clients=1, parameters=parameters)
    strategy(candidates(1), Connectivity.empty(), History(), policy, np.random.default_rng(0))
    return found[0]


def test_a_strategy_sees_what_was_given_and_the_other_defaults() -> None:
    assert seen({}) == {"chance": 0.25, "depth": 3}
    assert seen({"depth": 8}) == {"chance": 0.25, "depth": 8}


@pytest.mark.parametrize(
    ("given", "pointer", "rule"),
    [
        ({"deep": 1}, "/parameters/deep", "is no parameter of the strategy, whose parameters are chance, depth"),
        ({"chance": 1.5}, "/parameters/chance", "should be from 0 to 1, is 1.5"),
        ({"depth": 0}, "/parameters/depth", "should be from 1 to 8, is 0"),
        ({"depth": float("nan")}, "/parameters/depth", "should be from 1 to 8, is nan"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, float], pointer: str, rule: str) -> None:
    with pytest.raises(Invalid) as refused:
        seen(given)
    assert (refused.value.pointer, refused.value.detail) == (pointer, rule)


def test_every_fault_is_found() -> None:
    assert dict(unfit([CHANCE, DEPTH], {"chance": -1, "depth": 2, "x": 1})).keys() == {"chance", "x"}
    assert list(unfit([], {"x": 1})) == [("x", "is no parameter of the strategy, which has none")]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_declared_parameter_works_at_both_ends_and_not_beyond(name: str) -> None:
    clients = candidates(4, loss=[1.0, None, 2.0, 3.0])

    def run(**parameters: float) -> Selection:
        policy = SelectionPolicy(min_clients=2, max_clients=3, parameters=parameters)
        return select(name, clients, Connectivity.empty(), History(), policy, np.random.default_rng(0))

    assert run() == run(**{one.name: one.default for one in parameters_of(STRATEGIES[name])})
    for one in parameters_of(STRATEGIES[name]):
        assert 2 <= len(run(**{one.name: one.minimum}).selected) <= 3
        assert 2 <= len(run(**{one.name: one.maximum}).selected) <= 3
        for beyond in (np.nextafter(one.minimum, -np.inf), np.nextafter(one.maximum, np.inf)):
            with pytest.raises(Invalid):
                run(**{one.name: float(beyond)})


@pytest.mark.parametrize("bounds", [{"minimum": 0.25}, {"maximum": 0.25}, {"minimum": 0.25, "maximum": 0.25}])
def test_the_default_may_be_a_bound(bounds: dict[str, float]) -> None:
    assert replace(CHANCE, **bounds).default == 0.25  # type: ignore[arg-type]  # only numbers are replaced


@pytest.mark.parametrize(
    "bounds", [{"maximum": np.inf}, {"minimum": -np.inf}, {"default": 2.0}, {"default": np.nan}, {"minimum": 0.5}]
)
def test_bounds_are_finite_and_the_default_lies_between_them(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="parameter 'chance' needs finite bounds"):
        replace(CHANCE, **bounds)  # type: ignore[arg-type]  # only numbers are replaced
