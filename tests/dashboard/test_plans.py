"""What the dashboard works out itself: who may take part in a plan, and what a training took to reach a target."""

from pathlib import Path
from typing import Any

import pytest

from tests.nodejs import needs_node, run

pytestmark = needs_node

RULES = {"strategy": "random", "min_clients": 1, "max_clients": 2}
PLAN = """
    const { planned } = await import("./plans.js");
    return given.wheres.map((where) =>
        planned({ selection: given.rules, seed: 3, topology: "star", where }, given.clients, 500));
"""
ALONG = """
    const { along } = await import("./compare.js");
    return given.map(([rounds, goal, target]) => along(rounds, goal, target));
"""
ACCURACY, LOSS = {"metric": "accuracy", "mode": "max"}, {"metric": "loss", "mode": "min"}


def client(name: str, size: int, claimed: float, measured: float | None, **tags: str) -> dict[str, Any]:
    return {
        "id": name,
        "data_size": size,
        "reliability": claimed,
        "measured": {"reliability": measured},
        "tags": tags,
    }


def test_a_plan_excludes_the_clients_that_a_training_may_not_take(tmp_path: Path) -> None:
    clients = [
        client("a", 10, 0.9, None, site="north"),
        client("b", 20, 0.9, 0.4, site="north", kind="pi"),
        client("c", 30, 0.5, 0.8),
    ]
    cases: list[tuple[Any, list[str]]] = [
        (None, []),
        ({}, []),
        ({"tags": {"site": "north"}}, ["c"]),
        ({"tags": {"site": "north", "kind": "pi"}}, ["a", "c"]),
        ({"clients": ["b"]}, ["a", "c"]),
        ({"exclude": ["b"]}, ["b"]),
        ({"min_data_size": 20}, ["a"]),
        ({"min_reliability": 0.8}, ["b"]),
    ]
    plans = run(
        tmp_path / "dashboard", PLAN, {"wheres": [case for case, _ in cases], "rules": RULES, "clients": clients}
    )
    assert [plan.pop("exclude") for plan in plans] == [excluded for _, excluded in cases]
    assert plans[0] == {**RULES, "seed": 3, "topology": "star", "model_bytes": 500}


def outlined(
    number: int, cost: float | None, seconds: float | None, size: int | None, **means: float
) -> dict[str, Any]:
    return {"number": number, "cost": cost, "duration": seconds, "bytes": size, "means": means}


def test_the_costs_until_a_target_are_those_of_all_rounds_until_then(tmp_path: Path) -> None:
    """Round 2 was abandoned and cost link time, too; round 4 goes on."""
    rounds = [
        outlined(1, 1.0, 10.0, 100, accuracy=0.5, loss=2.0),
        outlined(2, 2.0, 20.0, 50),
        outlined(3, 4.0, 40.0, 100, accuracy=0.8, loss=1.0),
        outlined(4, None, None, None),
    ]
    third = {"number": 3, "cost": 7.0, "duration": 70.0, "bytes": 250}
    reached, lower, missed, none, empty = run(
        tmp_path / "dashboard",
        ALONG,
        [
            [rounds, ACCURACY, 0.8],
            [rounds, LOSS, 1.5],
            [rounds, ACCURACY, 0.9],
            [rounds, ACCURACY, None],
            [[], ACCURACY, 0.9],
        ],
    )
    assert reached["reached"] == third | {"value": 0.8}
    assert lower["reached"] == lower["best"] == third | {"value": 1.0}
    assert (missed["reached"], missed["best"], missed["last"]) == (None, reached["reached"], reached["reached"])
    assert missed["end"] == {"number": 4, "value": None, "cost": 7.0, "duration": 70.0, "bytes": 250}
    assert none["reached"] is None
    assert empty == {"points": [], "best": None, "last": None, "end": None, "reached": None}


@pytest.mark.parametrize("name", ["start.js", "compare.js", "training.js", "clients.js", "topology.js", "overview.js"])
def test_a_module_parses_and_finds_what_it_imports(name: str, tmp_path: Path) -> None:
    assert run(tmp_path / "dashboard", f'return Object.keys(await import("./{name}"));', None)
