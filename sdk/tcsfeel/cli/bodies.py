"""Make parts of a request's body of a command's options."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tcsfeel.cli.ending import fail

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME = re.compile(r"([0-9]{1,9})([smhd])")


def those_given(options: dict[str, Any]) -> dict[str, Any]:
    """Leave out the options that were not given."""
    return {name: value for name, value in options.items() if value is not None}


def goal_of(given: str | None, patience: int | None) -> dict[str, Any] | None:
    """Make the goal of the options `--goal` and `--patience`."""
    if given is None:
        return None if patience is None else fail("--patience should come with --goal")
    metric, _, rest = given.partition(":")
    mode, _, target = rest.partition(":")
    if mode not in {"", "max", "min"}:
        fail(f"--goal {given} should be METRIC:MODE[:TARGET] with max or min as MODE, such as {metric}:min:0.5")
    goal: dict[str, Any] = {"metric": metric, "mode": mode or None, "target": None, "patience": patience}
    try:
        goal["target"] = float(target) if target else None
    except ValueError:
        fail(f"--goal {given} should be METRIC:MODE[:TARGET] with a number as TARGET")
    return those_given(goal)


def start_of(given: str | None, optimiser: bool) -> dict[str, Any] | None:
    """Make the version to start from of the options `--from` and `--optimiser`."""
    if given is None:
        return fail("--optimiser should come with --from") if optimiser else None
    training, _, round_ = given.partition(":")
    start: dict[str, Any] = {"training": training, "optimiser": optimiser}
    if round_:
        if not round_.isdecimal():
            fail(f"--from {given} should be TRAINING or TRAINING:ROUND with the number of a round")
        start["round"] = int(round_)
    return start


def seconds_of(option: str, given: str | None) -> int | None:
    """Read a time such as ``90d``. Ends the command if it is none."""
    if given is None:
        return None
    match = _TIME.fullmatch(given)
    if match is None:
        fail(f"{option} should be a whole number and a unit, such as 30s, 15m, 12h or 90d")
    return int(match[1]) * SECONDS[match[2]]


def tags_of(given: Sequence[str]) -> dict[str, str]:
    """Make tags of `KEY:VALUE` each."""
    tags = {}
    for tag in given:
        name, colon, value = tag.partition(":")
        if not name or not colon:
            fail(f"--tag {tag} should be KEY:VALUE")
        tags[name] = value
    return tags


def numbers_of(assignments: Sequence[str]) -> dict[str, float]:
    """Make parameters of `NAME=NUMBER` each."""
    numbers = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            numbers[name] = math.nan
        if not math.isfinite(numbers[name]):
            fail(f"--parameter {assignment} should be a name, = and a number")
    return numbers


def read_body(path: Path | None) -> dict[str, Any]:
    """Read a file with a part of the body of a training."""
    if path is None:
        return {}
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read: {error}")
    objects = ("selection", "parameters", "where")
    if not isinstance(body, dict) or not all(isinstance(body.get(part, {}), dict) for part in objects):
        fail(f"{path} must hold a JSON object")
    return body
