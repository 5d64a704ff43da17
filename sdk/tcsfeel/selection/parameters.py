"""Declare the numbers that tune a strategy, in addition to the policy that all strategies share.

    @tunable(Parameter(name="chance", default=0.2, minimum=0, maximum=1, meaning="share of the places that is drawn"))
    def my_strategy(candidates, connectivity, history, policy, rng): ...

In the strategy, `policy.parameters` has a value for each of them: the given one or the default.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps

import numpy as np

from tcsfeel.errors import Invalid
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A number that tunes a strategy, with its bounds and its meaning.

    Attributes:
        name: the parameter's name.
        default: its value where none is given.
        minimum: the smallest value that is allowed.
        maximum: the largest value that is allowed.
        meaning: what it does, in words.

    Raises:
        ValueError: the bounds are not finite, or the default is not between them.
    """

    name: str
    default: float
    minimum: float
    maximum: float
    meaning: str

    def __post_init__(self) -> None:
        if not -math.inf < self.minimum <= self.default <= self.maximum < math.inf:
            raise ValueError(f"parameter {self.name!r} needs finite bounds, and a default between them")


def tunable(*parameters: Parameter) -> Callable[[Strategy], Strategy]:
    """Declare a strategy's parameters."""

    def declare(strategy: Strategy) -> Strategy:
        @wraps(strategy)
        def tuned(
            candidates: Sequence[Candidate],
            connectivity: Connectivity,
            history: History,
            policy: SelectionPolicy,
            rng: np.random.Generator,
        ) -> Selection:
            policy = replace(policy, parameters=completed(parameters, policy.parameters))
            return strategy(candidates, connectivity, history, policy, rng)

        tuned.__dict__["parameters"] = parameters
        return tuned

    return declare


def parameters_of(strategy: Strategy) -> tuple[Parameter, ...]:
    """Return the parameters that a strategy has declared."""
    declared: tuple[Parameter, ...] = getattr(strategy, "parameters", ())
    return declared


def completed(parameters: Sequence[Parameter], given: Mapping[str, float]) -> Mapping[str, float]:
    """Return a value for every parameter. Raises `Invalid` for an unknown name or a value out of range."""
    for name, rule in unfit(parameters, given):
        raise Invalid(f"/parameters/{name}", rule)
    return {parameter.name: given.get(parameter.name, parameter.default) for parameter in parameters}


def unfit(parameters: Sequence[Parameter], given: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield each name that is unknown or has a wrong value, with a rule that it should follow."""
    known = {parameter.name: parameter for parameter in parameters}
    for name, value in given.items():
        if name not in known:
            yield name, f"is no parameter of the strategy, {_listed(known)}"
        elif not known[name].minimum <= value <= known[name].maximum:
            yield name, f"should be from {known[name].minimum:g} to {known[name].maximum:g}, is {value:g}"


def _listed(names: Collection[str]) -> str:
    return f"whose parameters are {', '.join(names)}" if names else "which has none"
