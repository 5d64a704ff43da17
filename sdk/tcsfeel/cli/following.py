"""Commands that talk to a control plane: list clients, start a training, follow a training."""

import json
import math
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tcsfeel.cli.ending import fail
from tcsfeel.cli.options import json_option, key_option, server_option
from tcsfeel.statuses import STOPPED

if TYPE_CHECKING:
    from tcsfeel.cli.connection import Connection

POLL_SECONDS = 0.5
COLUMNS = ("client", "status", "breaker", "samples", "Mbps", "ms", "reliability", "rounds")


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
    rows = [COLUMNS, *(_row(item) for item in items)]
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
    with _connect(server, key) as api:
        training = api.call("POST", "/v1/trainings", json=request | _given(limits), key=secrets.token_hex(16))
        training = api.call("POST", f"/v1/trainings/{training['id']}/start")
        if watch:
            _follow(api, training["id"], as_json=as_json)
        else:
            click.echo(json.dumps(training, indent=2) if as_json else training["id"])


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
        training = api.call("GET", f"/v1/trainings/{training_id}")
        rounds = api.call("GET", f"/v1/trainings/{training_id}/rounds")["items"]
        for item in reversed(rounds):
            if item["number"] > shown and item["ended_at"] is not None:
                shown = item["number"]
                click.echo(json.dumps(item) if as_json else _line(item, training["goal"]["metric"]))
        if training["status"] in STOPPED:
            break
        progress = training.get("progress")
        if progress != known and not as_json and progress is not None and progress["reason"] is not None:
            click.echo(f"{progress['state']} since {progress['since']}: {progress['reason']}")
        known = progress
        time.sleep(POLL_SECONDS)
    click.echo(json.dumps(training) if as_json else _conclusion(training))
    if training["status"] != "completed":
        raise click.exceptions.Exit(1)


def _conclusion(training: dict[str, Any]) -> str:
    detail = "" if training["stop_detail"] is None else f": {training['stop_detail']}"
    return f"{training['status']}: {training['stop_reason']}{detail}"


def _line(item: dict[str, Any], metric: str) -> str:
    measured = "-" if item["goal_value"] is None else f"{item['goal_value']:.4f}"
    cost = "-" if item["communication_cost"] is None else f"{item['communication_cost']:.2f} s"
    reason = "" if item["failure_reason"] is None else f"  {item['failure_reason']}"
    selected = len(item["selected_clients"])
    return f"round {item['number']:3}  {item['status']}  {metric} {measured}  cost {cost}  clients {selected}{reason}"


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    """Make the row of a client for the table."""
    return (
        item["id"],
        item["status"],
        item["breaker"],
        str(item["data_size"]),
        f"{_best_known(item, 'bandwidth'):g}",
        f"{_best_known(item, 'latency'):g}",
        f"{_best_known(item, 'reliability'):.2f}",
        f"{item['rounds_completed']}/{item['rounds_selected']}",
    )


def _best_known(item: dict[str, Any], field: str) -> float:
    """Return a client's measured value, or the claimed value if there is no measurement yet."""
    measured = item["measured"][field]
    return float(item[field] if measured is None else measured)


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
    if not isinstance(body, dict) or not isinstance(body.get("selection", {}), dict):
        fail(f"{path} must hold a JSON object")
    return body
