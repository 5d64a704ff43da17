"""Commands that talk to a control plane: what is registered, start a training, follow it."""

import json
import math
import secrets
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tcsfeel.cli.connection import DEFAULT_SERVER, AsJson, Connection, Key, Server, fail
from tcsfeel.contract.trainings import STOPPED

POLL_SECONDS = 0.5


def clients(server: Server = DEFAULT_SERVER, key: Key = None, as_json: AsJson = False) -> None:
    """List the registered clients."""
    with Connection(server, key) as api:
        items = api.all("/v1/clients")
    if as_json:
        typer.echo(json.dumps(items, indent=2))
        return
    table = Table("client", "status", "breaker", "samples", "Mbps", "ms", "reliability", "rounds", box=None)
    for item in items:
        table.add_row(
            item["id"],
            item["status"],
            item["breaker"],
            str(item["data_size"]),
            f"{_best_known(item, 'bandwidth'):g}",
            f"{_best_known(item, 'latency'):g}",
            f"{_best_known(item, 'reliability'):.2f}",
            f"{item['rounds_completed']}/{item['rounds_selected']}",
        )
    Console().print(table)


def train(
    *,
    name: Annotated[str, typer.Option(help="The training's name")],
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    body: Annotated[Path | None, typer.Option(help="A JSON file with the rest of the training's body")] = None,
    strategy: Annotated[str | None, typer.Option(help="Selection strategy")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="A parameter of the strategy; may be repeated", metavar="NAME=NUMBER")
    ] = None,
    min_clients: Annotated[int | None, typer.Option(help="The fewest clients of a round")] = None,
    max_clients: Annotated[int | None, typer.Option(help="The most clients of a round")] = None,
    target_accuracy: Annotated[float | None, typer.Option(help="Accuracy at which it is done")] = None,
    max_rounds: Annotated[int | None, typer.Option(help="The most rounds")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it ends")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a training and start it."""
    request = _read_body(body) | {"name": name}
    rules = {
        "strategy": strategy,
        "parameters": _numbers(parameter) if parameter else None,
        "min_clients": min_clients,
        "max_clients": max_clients,
    }
    limits = {"target_accuracy": target_accuracy, "max_rounds": max_rounds}
    request["selection"] = request.get("selection", {}) | _given(rules)
    with Connection(server, key) as api:
        training = api.call("POST", "/v1/trainings", json=request | _given(limits), key=secrets.token_hex(16))
        training = api.call("POST", f"/v1/trainings/{training['id']}/start")
        if watch:
            _follow(api, training["id"], as_json=as_json)
        else:
            typer.echo(json.dumps(training, indent=2) if as_json else training["id"])


def watch(
    training_id: Annotated[str, typer.Argument(help="The training's id", metavar="ID")],
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Follow a training until it ends.

    The exit status is 1 unless it completed.
    """
    with Connection(server, key) as api:
        _follow(api, training_id, as_json=as_json)


def _follow(api: Connection, training_id: str, *, as_json: bool) -> None:
    """Print each round once as it ends, what holds the training up meanwhile, then how it ended."""
    shown, known = 0, None
    while True:
        training = api.call("GET", f"/v1/trainings/{training_id}")
        rounds = api.call("GET", f"/v1/trainings/{training_id}/rounds")["items"]
        for item in reversed(rounds):
            if item["number"] > shown and item["ended_at"] is not None:
                shown = item["number"]
                typer.echo(json.dumps(item) if as_json else _line(item))
        if training["status"] in STOPPED:
            break
        progress = training.get("progress")
        if progress != known and not as_json and progress is not None and progress["reason"] is not None:
            typer.echo(f"{progress['state']} since {progress['since']}: {progress['reason']}")
        known = progress
        time.sleep(POLL_SECONDS)
    typer.echo(json.dumps(training) if as_json else _conclusion(training))
    if training["status"] != "completed":
        raise typer.Exit(1)


def _conclusion(training: dict[str, Any]) -> str:
    detail = "" if training["stop_detail"] is None else f": {training['stop_detail']}"
    return f"{training['status']}: {training['stop_reason']}{detail}"


def _line(item: dict[str, Any]) -> str:
    accuracy = "-" if item["average_accuracy"] is None else f"{item['average_accuracy']:.4f}"
    cost = "-" if item["communication_cost"] is None else f"{item['communication_cost']:.2f} s"
    reason = "" if item["failure_reason"] is None else f"  {item['failure_reason']}"
    selected = len(item["selected_clients"])
    return f"round {item['number']:3}  {item['status']}  accuracy {accuracy}  cost {cost}  clients {selected}{reason}"


def _best_known(item: dict[str, Any], field: str) -> float:
    """A client's measured value, or the claimed one until there is one."""
    measured = item["measured"][field]
    return float(item[field] if measured is None else measured)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _numbers(assignments: list[str]) -> dict[str, float]:
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
