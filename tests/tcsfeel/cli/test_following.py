"""What `tcsfeel watch` prints of a training, told by a script of answers."""

from typing import Any

import click
import pytest

from tcsfeel.cli.following import _follow

WAITING = {"state": "waiting", "since": "2026-01-01T00:00:00Z", "reason": "1 of 3 clients can be selected"}
MOVING = {"state": "moving", "since": "2026-01-01T00:01:00Z", "reason": None}


class Script:
    """Answers as a server whose training goes through these states, one a call."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self.states = list(states)

    def call(self, _method: str, path: str, *_parts: str) -> dict[str, Any]:
        return {"items": []} if path.endswith("/rounds") else self.states.pop(0)


def state(status: str = "running", **fields: Any) -> dict[str, Any]:
    return {"status": status, "stop_reason": None, "stop_detail": None, "progress": None} | fields


def test_what_holds_a_training_up_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    ended = state("failed", stop_reason="max_rounds", stop_detail="0 of 1 rounds completed")
    script = Script(state(progress=WAITING), state(progress=WAITING), state(progress=MOVING), ended)
    with pytest.raises(click.exceptions.Exit) as left:
        _follow(script, "t", as_json=False)  # type: ignore[arg-type]  # it is called like a connection
    assert left.value.exit_code == 1
    assert capsys.readouterr().out.splitlines() == [
        "waiting since 2026-01-01T00:00:00Z: 1 of 3 clients can be selected",
        "failed: max_rounds: 0 of 1 rounds completed",
    ]


def test_patterns_that_match_no_tensor_are_a_warning_once(capsys: pytest.CaptureFixture[str]) -> None:
    unmatched = {"averaged": [], "local": ["bm*", "haed\x1b"], "frozen": ["pos*"]}
    _follow(
        Script(state(), *[state(unmatched_patterns=unmatched)] * 2, state("completed", unmatched_patterns=unmatched)),  # type: ignore[arg-type]  # it is called like a connection
        "t",
        as_json=True,
    )
    assert capsys.readouterr().err == (
        "warning: no tensor of the first model matches the patterns of local bm*, haed\\x1b; frozen pos*:"
        " tensors that should stay on the devices may be sent\n"
    )
