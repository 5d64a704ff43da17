"""What the dashboard works out of a client's past: the states of its breaker, and its figures over rounds."""

from pathlib import Path
from typing import Any

from tests.nodejs import needs_node, run

pytestmark = needs_node

STRETCHES = """
    const { stretches } = await import("./history.js");
    return stretches(given, Date.parse("2026-12-01T00:01:00Z"))
        .map(({ state, from, to, last, reason, actor }) => [state, (to - from) / 1000, last, reason, actor]);
"""
READ = """
    const { Changes } = await import("./history.js");
    const asked = [];
    const get = async (path, { client, type, after }) => {
        asked.push([path, client, type.length, after]);
        const items = given.filter((one) => one > after).slice(0, 150);
        return { items, cursor: items.at(-1) ?? after, more: items.length > 0 && items.at(-1) < given.at(-1) };
    };
    const changes = new Changes({ get }, "edge-0");
    const first = await changes.read();
    given.push(501);
    const second = await changes.read();
    return { first, second, asked };
"""
FIGURES = """
    const { figures } = await import("./history.js");
    return figures(given);
"""


def change(state: str, second: int, reason: str | None = None, actor: str | None = None) -> dict[str, Any]:
    return {
        "type": f"breaker.{state}",
        "at": f"2026-12-01T00:00:{second:02}Z",
        "data": {"reason": reason},
        "actor": actor,
    }


def part(training: str, number: int, **fields: Any) -> dict[str, Any]:
    return {
        "training_id": training,
        "training": f"the {training}",
        "round": number,
        "loss": None,
        "accuracy": None,
        "metrics": {},
        "seconds": None,
    } | fields


def test_each_state_of_a_breaker_lasts_until_the_next_one_and_the_last_goes_on(tmp_path: Path) -> None:
    changes = [change("open", 5, "3 failures", "server-1"), change("half_open", 35), change("closed", 40)]
    assert run(tmp_path, STRETCHES, changes) == [
        ["open", 30, False, "3 failures", "server-1"],
        ["half_open", 5, False, None, None],
        ["closed", 20, True, None, None],
    ]


def test_changes_are_read_page_by_page_and_later_only_new_ones_and_the_newest_are_kept(tmp_path: Path) -> None:
    found = run(tmp_path, READ, list(range(1, 501)))
    assert found["first"] == list(range(301, 501))
    assert found["second"] == list(range(302, 502))
    assert [after for *_, after in found["asked"]] == [0, 150, 300, 450, 500]
    assert {tuple(one) for *one, _ in found["asked"]} == {("v1/events", "edge-0", 3)}


def test_figures_have_a_curve_for_each_training_and_need_two_rounds(tmp_path: Path) -> None:
    parts = [  # the newest first, as the view has them
        part("a", 3, loss=0.25, metrics={"rmse": 2.0}),
        part("b", 2, loss=1.0, seconds=4.0),
        part("a", 1, loss=0.5, metrics={"__proto__": 1.0}),
        part("b", 1, seconds=3.0, accuracy=0.5),
    ]
    found = run(tmp_path, FIGURES, parts)
    assert found["trainings"] == [{"id": "a", "name": "the a"}, {"id": "b", "name": "the b"}]
    shown = {name: [curve["points"] for curve in curves] for name, curves in found["charts"]}
    assert shown == {"loss": [[[1, 0.5], [3, 0.25]], [[2, 1]]], "time of its task": [[], [[1, 3], [2, 4]]]}
