"""`tcsfeel events`: a line for each event.

Covers: tcsfeel.cli.events
"""

import json
from typing import Any

from tests.tcsfeel.cli.test_answers import FORGED, run


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "at": "2026-11-30T09:00:00Z",
        "type": "participation.failed",
        "training_id": "t",
        "round": 3,
        "client_id": "edge-7",
        "data": {"reason": "it is off", "attempts": 2},
        "actor": "host-1",
        "request_id": None,
        **more,
    }


def page(*items: dict[str, Any], more: bool = False) -> dict[str, Any]:
    return {"items": list(items), "cursor": items[-1]["id"] if items else 0, "more": more}


def test_each_event_is_a_line_that_says_who_and_why() -> None:
    result = run(["events"], page(event(1), more=True), page(event(2, client_id=None, round=None, actor=None)))
    assert result.exit_code == 0
    first, second = result.output.splitlines()
    assert first == (
        "     1  2026-11-30T09:00:00  participation.failed  training=t client=edge-7 round=3  "
        "reason=it is off, attempts=2  by host-1"
    )
    assert second.endswith("training=t  reason=it is off, attempts=2")


def test_json_is_the_event_as_it_came() -> None:
    result = run(["events", "--json"], page(event(1)))
    assert [json.loads(line) for line in result.output.splitlines()] == [event(1)]


def test_what_a_server_sends_cannot_forge_lines() -> None:
    result = run(["events"], page(event(1, type=FORGED, actor=FORGED, data={FORGED: FORGED, "list": [FORGED]})))
    assert len(result.output.splitlines()) == 1
    assert "\x1b" not in result.output


def test_an_answer_of_another_form_ends_the_command() -> None:
    result = run(["events"], {"items": 1, "cursor": 0, "more": False})
    assert result.exit_code == 1
    assert "events.items should be a list" in result.output
