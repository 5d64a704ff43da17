"""The rounds that `tcsfeel rounds` and `tcsfeel watch` show: who failed and why, and every value of every client."""

import csv
import json
from typing import Any

import pytest

from tests.tcsfeel.cli.test_answers import FORGED, ROUND, TRAINING, run, watch

PART: dict[str, Any] = {
    "client_id": "edge-1", "status": "received", "attempts": 1, "reason": None, "num_examples": 10, "num_steps": 5,
    "loss": 0.5, "accuracy": None, "metrics": {"rmse": 0.25}, "update_norm": 1.5, "bytes_sent": 7,
    "bytes_received": 8, "seconds": 0.125, "score": 0.0, "components": {},
}  # fmt: skip
LOST = PART | {"client_id": "edge-2", "status": "failed", "reason": "its trainer failed: KeyError: 'x'", "loss": None}
MEASURED = {
    name: value for name, value in PART.items() if name not in {"num_steps", "update_norm", "score", "components"}
}
WRONG = MEASURED | {"client_id": "edge-2", "status": "rejected", "reason": "=1+1 is not finite", "metrics": {}}
SKIPPED = LOST | {"client_id": "edge-3", "status": "skipped", "reason": "it has not answered in time"}
EVALUATIONS = [MEASURED | {"metrics": {"mae": 2.0}}, WRONG]
FULL = ROUND | {
    "selected_clients": ["edge-1", "edge-2"], "participations": [PART, LOST], "evaluations": EVALUATIONS,
}  # fmt: skip


def rounds(*items: object, options: tuple[str, ...] = ()) -> Any:
    return run(["rounds", "t", *options], TRAINING, {"items": items, "next_cursor": None})


def test_a_round_names_the_clients_that_failed_and_in_which_way() -> None:
    shown = [
        "round   1  abandoned  accuracy -  cost -  1 of 2 updates",
        "           edge-2: fit failed: its trainer failed: KeyError: 'x'",
        "           edge-2: evaluate rejected: =1+1 is not finite",
    ]
    assert rounds(FULL).output.splitlines() == shown
    assert watch(TRAINING, FULL).output.splitlines() == [*shown, "failed: max_rounds"]


def test_a_round_names_clients_that_were_skipped_after_those_that_failed() -> None:
    hung = ROUND | {"selected_clients": ["edge-1", "edge-2", "edge-3"], "participations": [PART, SKIPPED, LOST]}
    assert rounds(hung).output.splitlines() == [
        "round   1  abandoned  accuracy -  cost -  1 of 3 updates",
        "           edge-2: fit failed: its trainer failed: KeyError: 'x'",
        "           edge-3: fit skipped: it has not answered in time",
    ]


def test_failures_are_listed_although_many_clients_were_skipped() -> None:
    lines = rounds(ROUND | {"participations": [SKIPPED] * 30 + [LOST]}).output.splitlines()
    assert "edge-2: fit failed" in lines[1]
    assert (len(lines), lines[-1]) == (22, "           and 11 more")


def test_a_reason_that_the_round_has_already_is_not_repeated_for_the_client() -> None:
    why = f"1 of 3 updates came in, the quorum is 3; edge-2: {LOST['reason']}"
    lines = rounds(ROUND | {"participations": [PART, LOST, SKIPPED], "failure_reason": why}).output.splitlines()
    assert lines[0].endswith(why)
    assert lines[1:] == ["           edge-3: fit skipped: it has not answered in time"]


def test_the_oldest_round_comes_first_and_failures_beyond_20_are_counted() -> None:
    many = ROUND | {"number": 2, "participations": [LOST] * 23, "evaluations": []}
    lines = rounds(many, FULL).output.splitlines()
    assert lines[3].startswith("round   2")
    assert lines[-1] == "           and 3 more"
    assert len(lines) == 3 + 1 + 20 + 1


def test_every_value_of_every_client_can_be_exported() -> None:
    rows = list(csv.DictReader(rounds(FULL, options=("--csv",)).output.splitlines()))
    assert [(row["kind"], row["client_id"], row["metrics.rmse"], row["metrics.mae"]) for row in rows] == [
        ("fit", "edge-1", "0.25", ""),
        ("fit", "edge-2", "0.25", ""),
        ("evaluate", "edge-1", "", "2.0"),
        ("evaluate", "edge-2", "", ""),
    ]
    assert rows[0]["update_norm"] == "1.5"
    assert [row["num_steps"] for row in rows] == ["5", "5", "", ""]
    assert {row["training_id"] for row in rows} == {"t"}
    assert rows[3]["reason"] == "'=1+1 is not finite", "a spreadsheet computes nothing"
    assert json.loads(rounds(FULL, options=("--json",)).output) == [FULL]


@pytest.mark.parametrize("options", [(), ("--csv",)])
def test_a_reason_forges_no_line(options: tuple[str, ...]) -> None:
    forged = ROUND | {"participations": [LOST | {"reason": FORGED}], "evaluations": []}
    output = rounds(forged, options=options).output
    assert all(line.isprintable() for line in output.split("\n"))
    assert r"\x1b[31mbad\ncompleted" in output


@pytest.mark.parametrize(
    ("item", "place"),
    [
        (FULL | {"participations": [7]}, "round.participations should be an object"),
        (FULL | {"evaluations": {}}, "round.evaluations should be a list"),
        (FULL | {"evaluations": [WRONG | {"metrics": [1]}]}, "round.evaluations.metrics should be an object"),
    ],
)
def test_a_wrong_answer_ends_the_command_with_one_line(item: object, place: str) -> None:
    done = rounds(item, options=("--csv",))
    assert (done.exit_code, done.stderr) == (1, f"tcsfeel: the server's answer is not what was expected: {place}\n")
