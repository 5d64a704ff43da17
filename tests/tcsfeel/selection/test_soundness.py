"""What a strategy of another package gives is not believed."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from tcsfeel.errors import BudgetTooSmall, StrategyFailed
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import select
from tcsfeel.selection.random import random
from tcsfeel.selection.registry import described
from tcsfeel.selection.types import Candidate, Chosen, History, Plan, Selection, SelectionPolicy, Skipped
from tests.plugins import PLUGIN, strategy
from tests.tcsfeel.worlds import candidates

POLICY = SelectionPolicy(min_clients=2, max_clients=3)


def chosen(given: Callable[..., Any]) -> Selection:
    with strategy(given):
        return select(PLUGIN, candidates(5), Connectivity.empty(), History(), POLICY, np.random.default_rng(1))


def changed(**fields: Any) -> Callable[..., Selection]:
    """The strategy ``random`` with some fields of its selection changed."""

    def given(*arguments: Any) -> Selection:
        selection = random(*arguments)
        return replace(selection, **{name: change(selection) for name, change in fields.items()})

    return given


def first(selection: Selection, **fields: Any) -> tuple[Chosen, ...]:
    return (replace(selection.selected[0], **fields), *selection.selected[1:])


def test_a_sound_selection_is_given_as_it_is() -> None:
    assert chosen(random) == random(candidates(5), Connectivity.empty(), History(), POLICY, np.random.default_rng(1))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"selected": lambda s: s.selected[:1]}, "it selected 1 clients, not 2 to 3"),
    ({"selected": lambda s: first(s, client_id="nobody")}, "it named client 'nobody'"),
    ({"selected": lambda s: first(s, client_id=s.selected[1].client_id)}, "or was named before"),
    ({"selected": lambda s: first(s, score=math.nan)}, "the score of client .* is nan"),
    ({"selected": lambda s: first(s, score="high")}, "ValueError: could not convert string to float: 'high'"),
    ({"selected": lambda s: first(s, components={"x": math.inf})}, "a component of client .* is inf"),
    ({"selected": lambda s: first(s, marginal_cost=None)}, "TypeError"),
    ({"selected": lambda s: s.client_ids}, "it returned a value of the type str, not a Chosen"),
    ({"selected": lambda _: 7}, "TypeError: 'int' object is not iterable"),
    ({"skipped": lambda s: [Skipped(s.client_ids[0], "a reason")]}, "it named client"),
    ({"total_cost": lambda _: math.nan}, "total_cost is nan"),
    ({"label_divergence": lambda _: -math.inf}, "label_divergence is -inf"),
    ({"fairness": lambda _: math.nan}, "fairness is nan"),
    ({"expected_seconds": lambda _: math.inf}, "expected_seconds is inf"),
    ({"plan": lambda _: None}, "AttributeError"),
    ({"plan": lambda s: replace(s.plan, topology="ring")}, "its plan is not a Plan"),
    ({"plan": lambda _: Plan("star", {})}, "its plan does not lead every selected client to the server"),
    ({"plan": lambda s: Plan("star", dict.fromkeys(s.client_ids, "moon"))}, "its plan does not lead"),
]


@pytest.mark.parametrize(("fields", "detail"), WRONG, ids=[detail for _, detail in WRONG])
def test_what_is_no_selection_fails_the_strategy_by_its_name(fields: dict[str, Any], detail: str) -> None:
    with pytest.raises(StrategyFailed, match=f"^the strategy 'theirs' failed: .*{detail}"):
        chosen(changed(**fields))


@pytest.mark.parametrize("given", [None, [], "a", {"selected": []}, 7])
def test_another_type_fails_the_strategy(given: object) -> None:
    with pytest.raises(StrategyFailed, match=f"of the type {type(given).__name__}, not a Selection"):
        chosen(lambda *_: given)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError


def raising(error: BaseException) -> Callable[..., Any]:
    def given(*_: Any) -> Any:
        raise error

    return given


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        (raising(KeyError("y")), "KeyError: 'y'"),
        (raising(MemoryError()), "MemoryError"),
        (raising(GeneratorExit()), "GeneratorExit"),
        (raising(StopIteration(1)), "StopIteration: 1"),
        (raising(Unspeakable()), "Unspeakable"),
        (raising(ValueError("a\x1b[31m\n" + "b" * 1000)), "ValueError: a [31m bbbb"),
        (lambda *_: sys.exit("I give up"), "SystemExit: I give up"),
    ],
)
def test_any_error_fails_the_strategy_by_its_name(given: Callable[..., Any], detail: str) -> None:
    with pytest.raises(StrategyFailed) as failed:
        chosen(given)
    assert str(failed.value).startswith(f"the strategy 'theirs' failed: {detail}")
    assert len(str(failed.value)) < 350
    assert str(failed.value).isprintable()


def test_an_interrupt_by_the_user_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        chosen(raising(KeyboardInterrupt()))


def test_that_no_set_of_clients_fits_is_no_failure() -> None:
    with pytest.raises(BudgetTooSmall):
        chosen(raising(BudgetTooSmall(1.0, 2.0, 2)))


def test_numbers_of_other_types_and_long_reasons_are_made_fit_to_be_stored() -> None:
    def given(offered: Sequence[Candidate], *arguments: Any) -> Selection:
        selection = random(offered, *arguments)
        selected = first(selection, score=np.float32(0.5), components={"x": np.int64(3)})
        skipped = tuple(Skipped(one.client_id, "\ud800" + "r" * 1000) for one in selection.skipped)
        return replace(selection, selected=selected, skipped=skipped, total_cost=float(2))

    selection = chosen(given)
    assert (selection.selected[0].score, selection.selected[0].components, selection.total_cost) == (0.5, {"x": 3.0}, 2)
    assert all(len(one.reason) == 300 for one in selection.skipped)
    assert json.loads(json.dumps(asdict(selection)).encode())


@pytest.mark.parametrize(
    ("error", "told"),
    [(ValueError("no room"), "ValueError: no room"), (ValueError(), "ValueError"), (Unspeakable(), "Unspeakable")],
)
def test_an_error_of_a_strategy_is_described_with_the_message_that_it_has(error: Exception, told: str) -> None:
    assert described(error) == told
