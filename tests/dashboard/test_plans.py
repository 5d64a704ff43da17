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
    return given.map(([rounds, goal, target, whole]) => along(rounds, goal, target, whole));
"""
READ = """
    const { along } = await import("./compare.js");
    const { Rounds } = await import("./rounds.js");
    const round = (number) => ({
        number, status: "completed", communication_cost: 2, communication_bytes: 3,
        metrics: { accuracy: { mean: number } },
        started_at: "2026-11-30T12:00:00Z", ended_at: "2026-11-30T12:00:05Z", selected_clients: [], participations: [],
    });
    const read = async (all) => {
        const get = async (path, { limit, cursor }) => {
            const first = cursor === null ? all : Number(cursor);
            const last = Math.max(0, first - limit);
            const items = Array.from({ length: first - last }, (_, index) => round(first - index));
            return { items, next_cursor: last > 0 ? String(last) : null };
        };
        const rounds = new Rounds({ get }, "a");
        const seen = [];
        do {
            await rounds.read();
            const { reached } = along(rounds.all, given.goal, given.target, rounds.missing === null);
            seen.push({ known: rounds.all.length, missing: rounds.missing, spent: reached && reached.cost });
        } while (rounds.older);
        return seen;
    };
    return Promise.all(given.lengths.map(read));
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


def test_there_are_no_totals_while_rounds_are_missing(tmp_path: Path) -> None:
    """The rounds are 3 and 4 of 4: the first that reaches the target may be an earlier one."""
    rounds = [outlined(3, 4.0, 40.0, 100, accuracy=0.8), outlined(4, 1.0, 10.0, 100, accuracy=0.7)]
    [found] = run(tmp_path / "dashboard", ALONG, [[rounds, ACCURACY, 0.8, False]])
    none = {"cost": None, "duration": None, "bytes": None}
    assert found["points"] == [{"number": 3, "value": 0.8, **none}, {"number": 4, "value": 0.7, **none}]
    assert (found["reached"], found["end"]) == (None, found["points"][1])


def test_the_rounds_of_a_training_are_known_to_be_all_once_they_are_read(tmp_path: Path) -> None:
    """Of a long training only the newest are kept. The target is reached in the second round, for 4 s of link time."""
    given = {"goal": ACCURACY, "target": 2, "lengths": [0, 20, 150, 1300]}
    empty, short, longer, longest = run(tmp_path / "dashboard", READ, given)
    assert empty == [{"known": 0, "missing": None, "spent": None}]
    assert short == [{"known": 20, "missing": None, "spent": 4}]
    assert [(one["known"], one["missing"], one["spent"]) for one in longer] == [
        (20, "reading", None),
        (120, "reading", None),
        (150, None, 4),
    ]
    assert longest[-1] == {"known": 1020, "missing": "cut", "spent": None}
    assert {one["missing"] for one in longest[:-1]} == {"reading"}


@pytest.mark.parametrize("name", ["start.js", "compare.js", "training.js", "clients.js", "topology.js", "overview.js"])
def test_a_module_parses_and_finds_what_it_imports(name: str, tmp_path: Path) -> None:
    assert run(tmp_path / "dashboard", f'return Object.keys(await import("./{name}"));', None)
