"""Commands that talk to a control plane: list clients, start a training, follow a training."""

import json
import math
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.ending import fail
from tcsfeel.cli.history import shown_round
from tcsfeel.cli.options import json_option, key_option, server_option
from tcsfeel.statuses import STOPPED
from tcsfeel.text import escaped

if TYPE_CHECKING:
    from tcsfeel.cli.connection import Connection

POLL_SECONDS = 0.5
COLUMNS = ("client", "status", "breaker", "samples", "Mbps", "ms", "reliability", "rounds", "failures")


@click.command(epilog="Example: tcsfeel clients --json")
@server_option
@key_option
@json_option
def clients(*, server: str, key: str | None, as_json: bool) -> None:
    """List the registered clients."""
    with _connect(server, key) as api:
        items = api.all("/v1/clients")
    if as_json:
        click.echo(json.dumps(items, indent=2))
        return
    rows = [COLUMNS, *(_row(Fields(item, f"client {number}")) for number, item in enumerate(items, start=1))]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@click.command(epilog="Example: tcsfeel train --name digits --min-clients 2 --max-clients 10 --watch")
@click.option("--name", required=True, help="The training's name")
@server_option
@key_option
@click.option("--body", type=click.Path(path_type=Path), help="A JSON file with the rest of the training's body")
@click.option("--strategy", help="Selection strategy")
@click.option("--parameter", multiple=True, metavar="NAME=NUMBER", help="A parameter of the strategy; may be repeated")
@click.option("--min-clients", type=int, help="The fewest clients in a round")
@click.option("--max-clients", type=int, help="The most clients in a round")
@click.option("--target-accuracy", type=float, help="Accuracy at which the training completes")
@click.option("--goal", metavar="METRIC:MODE[:TARGET]", help="Another goal, such as rmse:min:0.1; MODE is max or min")
@click.option("--patience", type=int, help="With --goal: rounds without an improvement after which it completes")
@click.option("--max-rounds", type=int, help="The most rounds of the training")
@click.option("--averaged", multiple=True, metavar="PATTERN", help="Tensors that are only averaged; may be repeated")
@click.option("--local", multiple=True, metavar="PATTERN", help="Tensors that stay on the devices; may be repeated")
@click.option("--frozen", multiple=True, metavar="PATTERN", help="Tensors that never change; may be repeated")
@click.option("--watch", is_flag=True, help="Follow it until it ends")
@json_option
def train(
    *,
    name: str,
    server: str,
    key: str | None,
    body: Path | None,
    strategy: str | None,
    parameter: tuple[str, ...],
    min_clients: int | None,
    max_clients: int | None,
    target_accuracy: float | None,
    goal: str | None,
    patience: int | None,
    max_rounds: int | None,
    averaged: tuple[str, ...],
    local: tuple[str, ...],
    frozen: tuple[str, ...],
    watch: bool,
    as_json: bool,
) -> None:
    """Create a training and start it."""
    request = _read_body(body) | {"name": name}
    rules = {
        "strategy": strategy,
        "parameters": _numbers(parameter) if parameter else None,
        "min_clients": min_clients,
        "max_clients": max_clients,
    }
    limits = {"target_accuracy": target_accuracy, "goal": _goal(goal, patience), "max_rounds": max_rounds}
    request["selection"] = request.get("selection", {}) | _given(rules)
    groups = {"averaged": averaged, "local": local, "frozen": frozen}
    if given := {name: list(patterns) for name, patterns in groups.items() if patterns}:
        request["parameters"] = request.get("parameters", {}) | given
    with _connect(server, key) as api:
        created = api.call("POST", "/v1/trainings", json=request | _given(limits), key=secrets.token_hex(16))
        training_id = Fields(created, "training").id("id")
        started = api.call("POST", "/v1/trainings/{training_id}/start", training_id)
        if watch:
            _follow(api, training_id, as_json=as_json)
        else:
            click.echo(json.dumps(started, indent=2) if as_json else escaped(training_id))


@click.command(epilog="Example: tcsfeel watch 3f0c2a9d5b7e4c11")
@click.argument("training_id", metavar="ID")
@server_option
@key_option
@json_option
def watch(training_id: str, *, server: str, key: str | None, as_json: bool) -> None:
    """Follow a training until it ends.

    ID is the training's id. The exit status is 1 unless it completed.
    """
    with _connect(server, key) as api:
        _follow(api, training_id, as_json=as_json)


def _connect(server: str, key: str | None) -> "Connection":
    from tcsfeel.cli.connection import Connection  # noqa: PLC0415  (help does not need httpx2)

    return Connection(server, key)


def _follow(api: "Connection", training_id: str, *, as_json: bool) -> None:
    """Print each round when it ends, the reasons when the training makes no progress, and finally how it ended."""
    shown, known = 0, None
    while True:
        training = Fields(api.call("GET", "/v1/trainings/{training_id}", training_id), "training")
        page = Fields(api.call("GET", "/v1/trainings/{training_id}/rounds", training_id), "page")
        for item in [Fields(item, "round") for item in reversed(page.items("items"))]:
            if item.whole("number") > shown and item.has("ended_at"):
                shown = item.whole("number")
                click.echo(json.dumps(item.value) if as_json else "\n".join(shown_round(item, training)))
        if training.text("status") in STOPPED:
            break
        progress = training.part("progress") if training.has("progress") else None
        if progress is not None and progress.value != known and progress.has("reason") and not as_json:
            click.echo(f"{progress.text('state')} since {progress.text('since')}: {progress.text('reason')}")
        known = None if progress is None else progress.value
        time.sleep(POLL_SECONDS)
    click.echo(json.dumps(training.value) if as_json else _conclusion(training))
    if training.text("status") != "completed":
        raise click.exceptions.Exit(1)


def _conclusion(training: Fields) -> str:
    reason = training.text("stop_reason") if training.has("stop_reason") else "no reason"
    detail = f": {training.text('stop_detail')}" if training.has("stop_detail") else ""
    return f"{training.text('status')}: {reason}{detail}"


def _row(item: Fields) -> tuple[str, ...]:
    """Make the row of a client for the table."""
    return (
        item.text("id"),
        item.text("status"),
        item.text("breaker"),
        str(item.whole("data_size")),
        f"{_best_known(item, 'bandwidth'):g}",
        f"{_best_known(item, 'latency'):g}",
        f"{_best_known(item, 'reliability'):.2f}",
        f"{item.whole('rounds_completed')}/{item.whole('rounds_selected')}",
        _failures(item),
    )


def _failures(item: Fields) -> str:
    """Say how often a client has failed, by kind; older servers do not count it."""
    if not item.has("failures"):
        return "-"
    failures = item.part("failures")
    counts = {kind: failures.whole(kind) for kind in ("unreachable", "faulty")}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"


def _best_known(item: Fields, field: str) -> float:
    """Return a client's measured value, or the claimed value if there is no measurement yet."""
    measured = item.part("measured")
    return (measured if measured.has(field) else item).number(field)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _goal(given: str | None, patience: int | None) -> dict[str, Any] | None:
    if given is None:
        return None if patience is None else fail("--patience should come with --goal")
    metric, _, rest = given.partition(":")
    mode, _, target = rest.partition(":")
    goal: dict[str, Any] = {"metric": metric, "mode": mode or None, "target": None, "patience": patience}
    try:
        goal["target"] = float(target) if target else None
    except ValueError:
        fail(f"--goal {given} should be METRIC:MODE or METRIC:MODE:TARGET with a number as target")
    return _given(goal)


def _numbers(assignments: Sequence[str]) -> dict[str, float]:
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


def _read_body(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read: {error}")
    if not isinstance(body, dict) or not all(
        isinstance(body.get(part, {}), dict) for part in ("selection", "parameters")
    ):
        fail(f"{path} must hold a JSON object")
    return body
