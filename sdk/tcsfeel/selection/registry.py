"""Find the strategies by name: those of this package, and those of other packages.

A package offers a strategy by an entry point in the group `tcsfeel.strategies`. The name of the entry point is the name
of the strategy, and its object is a `Strategy`. Entry points are read once in a process. If one of them cannot be
loaded, the first caller gets an error: otherwise the strategy would be found missing in the middle of a training.
Another package cannot replace the strategies of this package.
"""

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from threading import current_thread, main_thread
from types import MappingProxyType

import numpy as np

from tcsfeel.errors import Invalid, SelectionInfeasible, StrategyFailed, UnknownStrategy, UnusableStrategy
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.candidates import Candidates
from tcsfeel.selection.claims import believed
from tcsfeel.selection.documented import documented
from tcsfeel.selection.fairness import evenness
from tcsfeel.selection.fedcs import fedcs
from tcsfeel.selection.frequency import too_frequent
from tcsfeel.selection.oort import oort
from tcsfeel.selection.parameters import Parameter, parameters_of
from tcsfeel.selection.power_of_choice import power_of_choice
from tcsfeel.selection.random import random
from tcsfeel.selection.soundness import Unsound, sound
from tcsfeel.selection.tcs_feel import tcs_feel
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy, Skipped, Strategy
from tcsfeel.selection.unselected import joined

ENTRY_POINTS = "tcsfeel.strategies"
BUILT_IN = "built in"

BLIND = frozenset({"random"})  # strategies that look at no claim, so that no claim can buy a place

STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "random": random,
        "documented": documented,
        "power-of-choice": power_of_choice,
        "fedcs": fedcs,
        "oort": oort,
        "tcs-feel": tcs_feel,
    }
)


@dataclass(frozen=True, slots=True)
class Installed:
    """A strategy that is installed.

    Attributes:
        name: the strategy's name.
        strategy: the function.
        source: `BUILT_IN`, or the name of the distribution that has the strategy.
    """

    name: str
    strategy: Strategy
    source: str

    @property
    def summary(self) -> str:
        """Return the first line of the strategy's docstring, or an empty text if it has none."""
        return (inspect.getdoc(self.strategy) or "").partition("\n")[0]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Return the parameters that the strategy has declared."""
        return parameters_of(self.strategy)


@cache
def installed() -> Mapping[str, Installed]:
    """Return every installed strategy by name, in the order of the names. Raises `UnusableStrategy`."""
    found = {point.name: _loaded(point) for point in entry_points(group=ENTRY_POINTS)}
    found |= {name: Installed(name, strategy, BUILT_IN) for name, strategy in STRATEGIES.items()}
    return MappingProxyType({name: found[name] for name in sorted(found)})


def _loaded(point: EntryPoint) -> Installed:
    source = _source(point)
    try:
        strategy = point.load()
    except Exception as error:
        raise UnusableStrategy(point.name, source, f"{point.value} cannot be loaded: {described(error)}") from error
    if not callable(strategy):
        raise UnusableStrategy(point.name, source, f"{point.value} is a {type(strategy).__name__}, not a function")
    return Installed(point.name, strategy, source)


def strategies() -> Mapping[str, Strategy]:
    """Return the functions of all installed strategies, by name."""
    return {name: entry.strategy for name, entry in installed().items()}


def select(  # noqa: PLR0917  (a strategy's arguments, and its name)
    name: str,
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """Select the clients of the next round with the strategy called `name`.

    Claims that are far beyond those of the other candidates are replaced first; see `tcsfeel.selection.claims`. Clients
    that have had more than their share of the places are left out; see `tcsfeel.selection.frequency`.

    Raises:
        UnknownStrategy: there is no strategy with this name.
        NotEnoughClients: there are fewer candidates than `policy.min_clients`.
        BudgetTooSmall: the cheapest `policy.min_clients` clients cost more than the budget.
        Invalid: the strategy has no such parameter, or the value is out of the parameter's range.
        StrategyFailed: the strategy raised another error, or one of another package gave no valid selection.
    """
    known = strategies()
    if name not in known:
        raise UnknownStrategy(name, sorted(known))
    call = partial(_called, name, known[name])
    candidates = Candidates.of(candidates)  # so that their numbers and ids are made once
    seen = believed(candidates, history, policy)
    frequent = {} if name in BLIND else too_frequent(candidates.ids, history, policy)
    waiting = seen.reasons()
    attempts = [frequent | waiting] if frequent else []
    attempts += [waiting] if seen.doubts else []
    for out in attempts:
        with contextlib.suppress(SelectionInfeasible):  # then fewer are left out, because that is better than no round
            offered = seen.candidates.without(out)
            return _completed(call(offered, connectivity, history, policy, rng), out, candidates, history)
    return call(candidates, connectivity, history, policy, rng)


def _completed(
    selection: Selection, left_out: Mapping[str, str], candidates: Candidates, history: History
) -> Selection:
    """Add the candidates that a strategy was not offered, with the reasons, to what it selected."""
    return replace(
        selection,
        skipped=joined(selection.skipped, [Skipped(*one) for one in left_out.items()]),
        fairness=evenness(candidates.places, history, selection.client_ids),
    )


def _called(  # noqa: PLR0917  (a strategy's arguments, and its name)
    name: str,
    strategy: Strategy,
    candidates: Sequence[Candidate],
    connectivity: Connectivity,
    history: History,
    policy: SelectionPolicy,
    rng: np.random.Generator,
) -> Selection:
    """Call a strategy, and check the result of another package's. Raises `StrategyFailed`, and a strategy's errors."""
    try:
        given = strategy(candidates, connectivity, history, policy, rng)
        return given if STRATEGIES.get(name) is strategy else sound(given, Candidates.of(candidates).ids, policy)
    except (SelectionInfeasible, Invalid):
        raise
    except Unsound as error:
        raise StrategyFailed(name, str(error)) from error
    except BaseException as error:  # also errors that a plug-in should never raise, such as SystemExit
        if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
            raise
        raise StrategyFailed(name, described(error)) from error


def described(error: BaseException) -> str:
    """Return an error's type and its message, if it has one that can be read."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  (an error of a plug-in can have any fault)
        text = ""
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def _source(point: EntryPoint) -> str:
    return point.module if point.dist is None else point.dist.name
