from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from app.demo.baseline import Baseline
from app.demo.history import History, Row
from app.demo.progress import Lines, Moving, progress
from app.demo.summary import Outcome, summary


def part(status: str, attempts: int) -> dict[str, Any]:
    return {"client_id": "c", "status": status, "attempts": attempts, "relay": None} | {
        "bytes_sent": 30_000 * attempts,
        "bytes_received": 20_000,
        "seconds": 1.25 if status == "received" else 9.0,
    }


def answer(number: int = 1, **changes: Any) -> dict[str, Any]:
    value = {
        "number": number,
        "average_accuracy": 0.5,
        "communication_cost": 1.25,
        "communication_bytes": 2_000_000,
        "participations": [part("received", 1), part("received", 3), part("failed", 2), part("skipped", 1)],
        "started_at": "2026-01-01T10:00:00Z",
        "ended_at": "2026-01-01T10:00:01.500000Z",
        "fairness": 0.75,
    }
    return value | changes


def test_a_row_counts_tries_that_gave_no_update() -> None:
    row = Row.of(answer())
    assert (row.selected, row.received) == (4, 2)
    assert row.failures == 5  # two before the second update, two that failed, one that was late
    assert row.seconds == 1.5
    assert row.last_update == 1.25
    assert row.learning == 30_000 * (1 + 3 + 2 + 1) + 4 * 20_000


def test_an_abandoned_round_has_no_accuracy_and_perhaps_no_cost() -> None:
    row = Row.of(answer(average_accuracy=None, communication_cost=None, participations=[]))
    assert (row.accuracy, row.cost, row.failures) == (None, 0.0, 0)


def test_a_history_sums_up_and_remembers_the_last_measurement() -> None:
    history = History()
    assert (history.accuracy, history.fairness, history.cost) == (None, None, 0)
    history.rows = [Row.of(answer(1)), Row.of(answer(2, average_accuracy=None, fairness=0.8))]
    assert (history.cost, history.traffic, history.failures) == (2.5, 4_000_000, 10)
    assert (history.accuracy, history.fairness) == (0.5, 0.8)


@pytest.mark.parametrize(("terminal", "kind"), [(True, Moving), (False, Lines)])
def test_progress_is_a_table_on_a_terminal_and_lines_elsewhere(terminal: bool, kind: type) -> None:
    history = History()
    console = Console(force_terminal=terminal, width=120, color_system=None, record=True)
    with progress(console, history, 0.963) as display:
        assert isinstance(display, kind)
        for number in range(1, 21):
            history.rows.append(Row.of(answer(number)))
            display.update()
    if not terminal:
        assert console.export_text().splitlines()[0] == (
            "round   1  accuracy 0.5000  cost so far    1.25 s  clients 2/4  failures 5  1.50 s"
        )
        return
    shown = Console(width=120, record=True)
    shown.print(display)
    text = shown.export_text()
    assert "best 0.5000 of 0.9630" in text
    assert [line.split()[:4] for line in text.splitlines()[2:]] == [
        [str(number), "0.5000", f"{1.25 * number:.2f}", "s"] for number in range(9, 21)
    ]


@pytest.mark.parametrize(("reached", "verdict"), [(True, "reached"), (False, "missed")])
def test_a_summary_says_what_was_measured_where(reached: bool, verdict: str) -> None:
    outcome = Outcome(
        recipe="tcs-feel",
        strategy="oort",
        baseline=Baseline((0.5,), (1.0,)),
        target=0.963,
        reached=reached,
        history=History([Row.of(answer())]),
        right=90,
        held_out=100,
        training_seconds=10.0,
        total_seconds=12.0,
    )
    text = "\n".join(summary(outcome))
    assert f"{verdict}: 0.5000 measured by the agents, 0.9630 asked for" in text
    assert "recipe         tcs-feel, with clients chosen by oort" in text
    assert "has 90 of 100 digits right: 0.9000" in text
    assert "1.2 s of link time, 2.0 MB" in text
    assert "failures       5 " in text
    assert "links " not in text
    shaped = "\n".join(summary(replace(outcome, shaped=True, other="tcsfeel demo --topology relay")))
    assert "links          2.00 MB a round over the server's links, 0.29 MB of it to train\n" in shaped
    assert "medians        1.50 s a round, and 1.25 s until its last update\n" in shaped
    assert "compare with   tcsfeel demo --topology relay\n" in shaped
