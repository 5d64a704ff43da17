"""When commands show views that move, and what these draw."""

import sys
from typing import Any

import pytest
from rich.console import Console

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.terminal import bar, curve, is_live
from tcsfeel.cli.training_view import MOST_CLIENTS, TrainingView

TRAINING: dict[str, Any] = {
    "id": "t1",
    "name": "digits",
    "status": "running",
    "current_round": 2,
    "max_rounds": 9,
    "goal": {"metric": "accuracy", "target": 0.9},
    "goal_value": 0.5,
    "best_value": 0.75,
    "progress": {"state": "waiting", "reason": "1 of 3 clients\x1b[31m can be selected"},
}


def part(client_id: str, status: str = "received", **fields: Any) -> dict[str, Any]:
    return {"client_id": client_id, "status": status, "seconds": 2.0, "reason": None} | fields


def round_of(number: int, *parts: dict[str, Any], **fields: Any) -> Fields:
    given = {
        "number": number,
        "status": "training",
        "goal_value": None,
        "communication_cost": 1.5,
        "failure_reason": None,
    }
    return Fields(given | {"participations": list(parts)} | fields, "round")


def drawn(view: TrainingView) -> str:
    console = Console(width=120, file=None, record=True, color_system=None)
    with console.capture() as captured:
        console.print(view.render())
    return captured.get()


class Screen:
    """Standard output that says whether it is a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def test_a_view_moves_on_a_terminal_only_and_not_with_plain_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Screen(is_terminal=True))
    assert is_live(plain=False, as_json=False)
    assert not is_live(plain=True, as_json=False)
    assert not is_live(plain=False, as_json=True)
    monkeypatch.setattr(sys, "stdout", Screen(is_terminal=False))
    assert not is_live(plain=False, as_json=False)


def test_without_the_extra_lines_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Screen(is_terminal=True))
    monkeypatch.setattr("tcsfeel.cli.terminal.find_spec", lambda _name: None)
    assert not is_live(plain=False, as_json=False)


def test_a_curve_goes_from_the_lowest_to_the_highest_value_with_gaps() -> None:
    assert curve([0.0, 0.5, None, 1.0], 10) == "▁▅ █"
    assert curve([3.0, 3.0], 10) == "▁▁"
    assert curve([0.0, 0.5, 1.0], 2) == "▁█"
    assert curve([None, None], 10) == curve([], 10) == ""


def test_a_bar_stays_in_its_width() -> None:
    assert (bar(0.5, 4), bar(7.0, 4), bar(-1.0, 4)) == ("██··", "████", "····")


def test_a_training_is_shown_with_its_curve_and_what_delays_it() -> None:
    view = TrainingView()
    assert drawn(view).strip() == "…"
    view.take(Fields(TRAINING, "training"), [round_of(2), round_of(1, goal_value=0.75)])
    lines = drawn(view).splitlines()
    assert lines[0].rstrip() == "digits  t1  running  round 2 of 9"
    assert lines[1].rstrip() == r"waiting: 1 of 3 clients\x1b[31m can be selected"
    assert lines[2].startswith("accuracy 0.5000  best 0.7500  target 0.9  ▁")
    view.take(Fields(TRAINING | {"current_round": 3}, "training"), [round_of(3, goal_value=0.25)])
    assert "█ ▁" in drawn(view), "values of earlier rounds are kept"


def test_clients_with_trouble_come_first_with_their_reasons_and_bars_by_their_time() -> None:
    view = TrainingView()
    parts = [part("a"), part("b", "failed", reason="it answered 500", seconds=4.0), part("c", "training", seconds=None)]
    view.take(Fields(TRAINING, "training"), [round_of(2, *parts)])
    lines = [line.rstrip() for line in drawn(view).splitlines()[4:]]
    assert lines[0] == "round 2  training  link time 1.50 s"
    assert lines[1].split() == ["✗", "b", "█" * 20, "4.0", "s", "it", "answered", "500"]
    assert lines[2].split()[:2] == ["…", "c"]
    assert lines[3].split() == ["✓", "a", "█" * 10 + "·" * 10, "2.0", "s"]


def test_of_many_clients_some_are_listed() -> None:
    view = TrainingView()
    view.take(Fields(TRAINING, "training"), [round_of(2, *(part(f"c{n:02}") for n in range(MOST_CLIENTS + 3)))])
    assert "and 3 more" in drawn(view)
