"""What `tcsfeel watch` prints of a training, told by a script of answers."""

from collections.abc import Sequence
from typing import Any

import click
import pytest

from tcsfeel.cli.bodies import goal_of
from tcsfeel.cli.ending import Ended
from tcsfeel.cli.following import _follow
from tests.tcsfeel.cli.test_answers import ROUND, run

WAITING = {"state": "waiting", "since": "2026-01-01T00:00:00Z", "reason": "1 of 3 clients can be selected"}
MOVING = {"state": "moving", "since": "2026-01-01T00:01:00Z", "reason": None}


class Script:
    """Answers as a server whose training goes through these states, one a call."""

    def __init__(self, *states: dict[str, Any], rounds: Sequence[dict[str, Any]] = ()) -> None:
        self.states = list(states)
        self.rounds = list(rounds)

    def call(self, _method: str, path: str, *_parts: str) -> dict[str, Any]:
        return {"items": self.rounds} if path.endswith("/rounds") else self.states.pop(0)


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


def test_a_reason_is_printed_once_in_the_lines_about_one_abandoned_round(capsys: pytest.CaptureFixture[str]) -> None:
    why = "0 of 3 updates came in, the quorum is 2; edge-1: it has not answered in time"
    paused = {"state": "waiting", "since": "2026-01-01T00:00:00Z", "reason": f"round 1 was abandoned: {why}"}
    goal = {"metric": "accuracy"}
    script = Script(
        state(goal=goal, progress=paused),
        state(goal=goal, progress=paused | {"since": "2026-01-01T00:00:09Z"}),
        state("failed", goal=goal, stop_reason="too_many_failed_rounds", stop_detail=why),
        rounds=[ROUND | {"failure_reason": why}],
    )
    with pytest.raises(click.exceptions.Exit):
        _follow(script, "t", as_json=False)  # type: ignore[arg-type]  # as above
    assert capsys.readouterr().out.splitlines() == [
        f"round   1  abandoned  accuracy -  cost -  0 of 0 updates  {why}",
        "waiting since 2026-01-01T00:00:00Z: round 1 was abandoned: as above",
        "failed: too_many_failed_rounds: as above",
    ]


def test_a_round_does_not_repeat_what_it_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    goal = {"metric": "accuracy"}
    why = WAITING["reason"]
    script = Script(
        state(goal=goal, progress=WAITING), state("failed", goal=goal, stop_reason="max_rounds", stop_detail=why)
    )
    monitored = [ROUND | {"ended_at": None}, ROUND | {"failure_reason": f"{why}, after 9 s"}]
    script.call = lambda _method, path, *_parts: (  # type: ignore[method-assign]  # the round ends after the first look
        {"items": [monitored.pop(0)]} if path.endswith("/rounds") else script.states.pop(0)
    )
    with pytest.raises(click.exceptions.Exit):
        _follow(script, "t", as_json=False)  # type: ignore[arg-type]  # as above
    assert capsys.readouterr().out.splitlines() == [
        f"waiting since 2026-01-01T00:00:00Z: {why}",
        "round   1  abandoned  accuracy -  cost -  0 of 0 updates  as above, after 9 s",
        "failed: max_rounds: as above",
    ]


@pytest.mark.parametrize(
    ("target", "stop_reason", "options", "status"),
    [
        (0.9, "max_rounds", [], 0),
        (0.9, "max_rounds", ["--require-goal"], 3),
        (0.9, "no_improvement", ["--require-goal"], 3),
        (0.9, "target_accuracy", ["--require-goal"], 0),
        (0.9, "target", ["--require-goal"], 0),
        (None, "max_rounds", ["--require-goal"], 0),
    ],
)
def test_the_exit_status_says_on_request_whether_the_goal_was_reached(
    target: float | None, stop_reason: str, options: list[str], status: int
) -> None:
    ended = state("completed", stop_reason=stop_reason, goal={"metric": "accuracy", "target": target})
    done = run(["watch", "t", *options], ended, {"items": []})
    assert done.exit_code == status
    assert done.output == f"completed: {stop_reason}\n"


@pytest.mark.parametrize("command", [["train", "--name", "x"], ["extend", "t", "--rounds", "1"]])
def test_the_goal_is_required_only_of_a_training_that_is_watched(command: list[str]) -> None:
    done = run([*command, "--require-goal"])
    assert (done.exit_code, done.stderr) == (1, "tcsfeel: --require-goal should come with --watch\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mse:0.5", "should be METRIC:MODE[:TARGET] with max or min as MODE, such as mse:min:0.5"),
        ("mse:min:low", "should be METRIC:MODE[:TARGET] with a number as TARGET"),
    ],
)
def test_a_goal_in_a_wrong_form_is_answered_with_the_right_form(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Ended) as ended:
        goal_of(given, None)
    ended.value.show()
    assert capsys.readouterr().err == f"tcsfeel: --goal {given} {said}\n"
