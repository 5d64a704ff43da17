"""The strategies by name: those of this package, and those that other packages offer.

A package offers one by an entry point in the group `tcsfeel.strategies`, whose name is the strategy's name and whose
object is a `Strategy`. Entry points are read once per process; one that cannot be loaded stops the first caller with
its own error, since a strategy that silently is not there would be found missing in the middle of a training. The
names of this package cannot be taken over.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

import numpy as np

from app.domain.connectivity import Connectivity
from app.domain.errors import UnknownStrategy
from app.domain.selection.documented import documented
from app.domain.selection.random import random
from app.domain.selection.tcs_feel import tcs_feel
from app.domain.selection.types import Candidate, History, Selection, SelectionPolicy, Strategy

ENTRY_POINTS = "tcsfeel.strategies"

STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "random": random,
        "documented": documented,
        "tcs-feel": tcs_feel,
    }
)


@cache
def strategies() -> Mapping[str, Strategy]:
    """Every strategy that is installed, by name."""
    others: dict[str, Strategy] = {point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}
    return MappingProxyType({**others, **STRATEGIES})


def select(  # noqa: PLR0917  (a strategy's arguments, and its name)
    name: str,
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """Choose the clients of the next round by the strategy called `name`.

    Raises:
        UnknownStrategy: there is none.
        NotEnoughClients: fewer candidates than `policy.min_clients`.
        BudgetTooSmall: the cheapest `policy.min_clients` cost more than the budget.
    """
    known = strategies()
    if name not in known:
        raise UnknownStrategy(name, sorted(known))
    return known[name](candidates, connectivity, history, policy, rng)
