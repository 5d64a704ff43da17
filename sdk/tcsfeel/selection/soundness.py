"""Check the result of a strategy before it is stored and used, and say what is wrong with it.

Strategies can come from other packages. Nothing in their results is trusted: not the types, not that the clients are
among the candidates, and not that the numbers are finite.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, TypeVar, get_args

from tcsfeel.selection.types import Chosen, Plan, Selection, SelectionPolicy, Skipped
from tcsfeel.text import plain
from tcsfeel.transfers import Topology

Kind = TypeVar("Kind")


class Unsound(Exception):
    """The result of a strategy is not a valid selection. The message says why."""


def sound(given: object, offered: Collection[str], policy: SelectionPolicy) -> Selection:
    """Return the selection with its numbers as floats and its reasons as plain text. Raises `Unsound`.

    Args:
        given: the result of the strategy.
        offered: the ids of the candidates.
        policy: the policy, which limits how many clients are selected.
    """
    if not isinstance(given, Selection):
        raise Unsound(f"it returned {_a(given)}, not a Selection")
    known = set(offered)
    selected = tuple(_chosen(chosen) for chosen in _members(given.selected, Chosen))
    ids = _known([chosen.client_id for chosen in selected], known)
    if not policy.min_clients <= len(ids) <= policy.max_clients:
        raise Unsound(f"it selected {len(ids)} clients, not {policy.min_clients} to {policy.max_clients}")
    skipped = tuple(_skipped(one) for one in _members(given.skipped, Skipped))
    _known([one.client_id for one in skipped], known - ids)
    return replace(
        given,
        strategy=plain(str(given.strategy)),
        selected=selected,
        skipped=skipped,
        total_cost=_number("total_cost", given.total_cost),
        label_divergence=None
        if given.label_divergence is None
        else _number("label_divergence", given.label_divergence),
        fairness=_number("fairness", given.fairness),
        expected_seconds=_number("expected_seconds", given.expected_seconds),
        plan=_plan(given.plan, ids),
    )


def _members(given: Iterable[Kind], kind: type[Kind]) -> Iterable[Kind]:
    for one in given:
        if not isinstance(one, kind):
            raise Unsound(f"it returned {_a(one)}, not a {kind.__name__}")
        yield one


def _chosen(chosen: Chosen) -> Chosen:
    name = f"of client {plain(str(chosen.client_id))!r}"
    return Chosen(
        chosen.client_id,
        _number(f"the score {name}", chosen.score),
        {plain(str(key)): _number(f"a component {name}", value) for key, value in chosen.components.items()},
        _number(f"the marginal cost {name}", chosen.marginal_cost),
    )


def _skipped(skipped: Skipped) -> Skipped:
    reason = plain(str(skipped.reason))
    return skipped if reason == skipped.reason else Skipped(skipped.client_id, reason)


def _known(ids: list[str], offered: AbstractSet[str]) -> AbstractSet[str]:
    """Return the ids as a set."""
    together = frozenset(ids)
    if len(together) == len(ids) and together <= offered:
        return together
    seen: set[str] = set()
    for client_id in ids:
        if client_id not in offered or client_id in seen:
            raise Unsound(f"it named client {plain(str(client_id))!r}, which is not on offer or was named before")
        seen.add(client_id)
    return seen


def _number(name: str, value: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise Unsound(f"{name} is {number}")
    return number


def _plan(plan: Any, ids: Collection[str]) -> Plan:
    parents = plan.parents
    if not isinstance(plan, Plan) or plan.topology not in get_args(Topology) or not isinstance(parents, Mapping):
        raise Unsound("its plan is not a Plan")
    if parents.keys() != set(ids) or not {*parents.values()} <= {*ids, None}:
        raise Unsound("its plan does not lead every selected client to the server")
    return Plan(plan.topology, dict(parents))


def _a(given: object) -> str:
    return f"a value of the type {type(given).__name__}"
