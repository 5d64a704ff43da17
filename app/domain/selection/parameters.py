"""Numbers that tune a strategy beyond the policy that all strategies share.

    @tunable(Parameter(name="chance", default=0.2, minimum=0, maximum=1, meaning="share of the places that is drawn"))
    def my_strategy(candidates, connectivity, history, policy, rng): ...

Inside, `policy.parameters` holds each of them, given or by default.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps

import numpy as np

from app.domain.connectivity import Connectivity
from app.domain.errors import Invalid
from app.domain.selection.types import Candidate, History, Selection, SelectionPolicy, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number, what it may be, and what it does."""

    name: str
    default: float
    minimum: float
    maximum: float
    meaning: str


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
    """What a strategy has declared."""
    declared: tuple[Parameter, ...] = getattr(strategy, "parameters", ())
    return declared


def completed(parameters: Sequence[Parameter], given: Mapping[str, float]) -> Mapping[str, float]:
    """A value for every parameter. Raises `Invalid` where one is given that does not exist, or is out of its range."""
    known = {parameter.name: parameter for parameter in parameters}
    for name, value in given.items():
        if name not in known:
            raise Invalid(
                f"/parameters/{name}", f"should be one of {', '.join(known) or 'none: it takes no parameters'}"
            )
        low, high = known[name].minimum, known[name].maximum
        if not low <= value <= high:
            raise Invalid(f"/parameters/{name}", f"should be from {low:g} to {high:g}, is {value:g}")
    return {name: given.get(name, parameter.default) for name, parameter in known.items()}
