"""Commands that start a training and follow it until it ends."""

import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.bodies import goal_of, numbers_of, read_body, start_of, tags_of, those_given
from tcsfeel.cli.completion import training_ids
from tcsfeel.cli.ending import fail
from tcsfeel.cli.history import shown_round
from tcsfeel.cli.options import connect, goal_option, json_option, key_option, server_option
from tcsfeel.cli.terminal import is_live, plain_option
from tcsfeel.statuses import STOPPED
from tcsfeel.text import escaped

if TYPE_CHECKING:
    from tcsfeel.cli.connection import Connection

POLL_SECONDS = 0.5
MISSED = 3  # the exit status if the training completed without its goal, with --require-goal
SHORT = 20  # characters of a reason that may be repeated
REACHED = frozenset({"target_accuracy", "target"})  # reasons for the end of a training


@click.command(epilog="Example: tcsfeel train --name digits --min-clients 2 --max-clients 10 --watch")
@click.option("--name", help="The training's name; with --from, that of the other training if it is left out")
@click.option(
    "--from",
    "start",
    metavar="TRAINING[:ROUND]",
    help="Start from the model of another training, with its configuration; from the newest, or from that of a round",
)
@click.option("--optimiser", is_flag=True, help="With --from: take over the state of the server optimiser, too")
@server_option
@key_option
@click.option("--body", type=click.Path(path_type=Path), help="A JSON file with the rest of the training's body")
@click.option("--recipe", metavar="NAME", help="Fields that work well together: tcs-feel, tcs-feel-relay or fedavg")
@click.option("--topology", metavar="NAME", help="star, or relay: updates also travel over links between clients")
@click.option("--stragglers", metavar="WHAT", help="skip, or carry: updates that come late count in a later round")
@click.option("--strategy", help="Selection strategy")
@click.option("--parameter", multiple=True, metavar="NAME=NUMBER", help="A parameter of the strategy; may be repeated")
@click.option("--min-clients", type=int, help="The fewest clients in a round")
@click.option("--max-clients", type=int, help="The most clients in a round")
@click.option("--largest-multiple", type=float, help="The most times its fair share that a client is selected")
@click.option("--tag", multiple=True, metavar="KEY:VALUE", help="Only clients with this tag train; may be repeated")
@click.option("--exclude", multiple=True, metavar="CLIENT", help="A client that does not train; may be repeated")
@click.option("--min-data-size", type=int, help="The fewest samples of a client that trains")
@click.option("--target-accuracy", type=float, help="Accuracy at which the training completes")
@click.option("--goal", metavar="METRIC:MODE[:TARGET]", help="Another goal, such as rmse:min:0.1; MODE is max or min")
@click.option("--patience", type=int, help="With --goal: rounds without an improvement after which it completes")
@click.option("--max-rounds", type=int, help="The most rounds of the training")
@click.option("--averaged", multiple=True, metavar="PATTERN", help="Tensors that are only averaged; may be repeated")
@click.option("--local", multiple=True, metavar="PATTERN", help="Tensors that stay on the devices; may be repeated")
@click.option("--frozen", multiple=True, metavar="PATTERN", help="Tensors that never change; may be repeated")
@click.option("--watch", is_flag=True, help="Follow it until it ends")
@goal_option
@json_option
def train(
    *,
    name: str | None,
    start: str | None,
    optimiser: bool,
    server: str,
    key: str | None,
    body: Path | None,
    recipe: str | None,
    topology: str | None,
    stragglers: str | None,
    strategy: str | None,
    parameter: tuple[str, ...],
    min_clients: int | None,
    max_clients: int | None,
    largest_multiple: float | None,
    tag: tuple[str, ...],
    exclude: tuple[str, ...],
    min_data_size: int | None,
    target_accuracy: float | None,
    goal: str | None,
    patience: int | None,
    max_rounds: int | None,
    averaged: tuple[str, ...],
    local: tuple[str, ...],
    frozen: tuple[str, ...],
    watch: bool,
    require_goal: bool,
    as_json: bool,
) -> None:
    """Create a training and start it."""
    fields = {"name": name, "from": start_of(start, optimiser), "recipe": recipe, "topology": topology}
    request = read_body(body) | those_given(fields)
    rules = {
        "strategy": strategy,
        "parameters": numbers_of(parameter) if parameter else None,
        "min_clients": min_clients,
        "max_clients": max_clients,
        "largest_multiple": largest_multiple,
    }
    limits = {"target_accuracy": target_accuracy, "goal": goal_of(goal, patience), "max_rounds": max_rounds}
    request["selection"] = request.get("selection", {}) | those_given(rules)
    conditions = {
        "tags": tags_of(tag) if tag else None,
        "exclude": list(exclude) or None,
        "min_data_size": min_data_size,
    }
    if stragglers is not None:
        request["round_policy"] = request.get("round_policy", {}) | {"stragglers": stragglers}
    request["where"] = request.get("where", {}) | those_given(conditions)
    groups = {"averaged": averaged, "local": local, "frozen": frozen}
    if given := {name: list(patterns) for name, patterns in groups.items() if patterns}:
        request["parameters"] = request.get("parameters", {}) | given
    _must_watch(watch, require_goal)
    with connect(server, key) as api:
        created = api.call("POST", "/v1/trainings", json=request | those_given(limits), key=secrets.token_hex(16))
        training_id = Fields(created, "training").id("id")
        started = api.call("POST", "/v1/trainings/{training_id}/start", training_id)
        if watch:
            _follow(api, training_id, as_json=as_json, require_goal=require_goal)
        else:
            click.echo(json.dumps(started, indent=2) if as_json else escaped(training_id))


@click.command(epilog="Example: tcsfeel extend 3f0c2a9d5b7e4c11 --rounds 20 --watch")
@click.argument("training_id", metavar="ID", shell_complete=training_ids)
@click.option("--rounds", type=int, required=True, help="How many rounds it may run in addition")
@server_option
@key_option
@click.option("--target-accuracy", type=float, help="The new accuracy at which the training completes")
@click.option("--target", type=float, help="The new value of its goal's metric at which the training completes")
@click.option("--watch", is_flag=True, help="Follow it until it ends")
@goal_option
@json_option
def extend(
    training_id: str,
    *,
    rounds: int,
    server: str,
    key: str | None,
    target_accuracy: float | None,
    target: float | None,
    watch: bool,
    require_goal: bool,
    as_json: bool,
) -> None:
    """Let a training that has ended run more rounds.

    ID is the training's id. It goes on from its last version. One that reached its target needs another one.
    """
    goal = None if target is None else {"target": target}
    request = {"rounds": rounds} | those_given({"target_accuracy": target_accuracy, "goal": goal})
    _must_watch(watch, require_goal)
    with connect(server, key) as api:
        more = api.call(
            "POST", "/v1/trainings/{training_id}/extend", training_id, json=request, key=secrets.token_hex(16)
        )
        if watch:
            _follow(api, training_id, as_json=as_json, require_goal=require_goal)
        else:
            click.echo(json.dumps(more, indent=2) if as_json else escaped(training_id))


@click.command(epilog="Example: tcsfeel watch 3f0c2a9d5b7e4c11")
@click.argument("training_id", metavar="ID", shell_complete=training_ids)
@server_option
@key_option
@goal_option
@plain_option
@json_option
def watch(training_id: str, *, server: str, key: str | None, require_goal: bool, plain: bool, as_json: bool) -> None:
    """Follow a training until it ends.

    ID is the training's id. On a terminal it shows the curve of the goal's metric, the clients of the round, and what
    fails and why. Elsewhere, or with --plain, it prints a line for each round. The exit status is 0 if the training
    completed, even without reaching its goal, and 1 if it failed or was cancelled. With --require-goal, it is 3 if it
    completed without reaching the target that it has.
    """
    with connect(server, key) as api:
        if is_live(plain=plain, as_json=as_json):
            _show(api, training_id)
        _follow(api, training_id, as_json=as_json, require_goal=require_goal)


def _show(api: "Connection", training_id: str) -> None:
    """Show the training in a view that moves, until it has ended."""
    from rich.live import Live  # noqa: PLC0415  (an extra, and slow to import)

    from tcsfeel.cli.training_view import TrainingView  # noqa: PLC0415  (needs the extra)

    view = TrainingView()
    with Live(auto_refresh=False, transient=True) as live:
        while True:
            training = Fields(api.call("GET", "/v1/trainings/{training_id}", training_id), "training")
            page = Fields(api.call("GET", "/v1/trainings/{training_id}/rounds", training_id), "page")
            view.take(training, [Fields(item, "round") for item in page.items("items")])
            live.update(view.render(), refresh=True)
            if training.text("status") in STOPPED:
                return
            time.sleep(POLL_SECONDS)


def _must_watch(watch: bool, require_goal: bool) -> None:
    if require_goal and not watch:
        fail("--require-goal should come with --watch")


class _Reasons:
    """Shortens texts that repeat the last long reason that was printed."""

    def __init__(self) -> None:
        self._last = ""

    def once(self, text: str, reason: str) -> str:
        """Return a text with `as above` in place of the last reason, or as it is, and remember the `reason` in it."""
        if len(self._last) > SHORT and self._last in text:
            return text.replace(self._last, "as above")
        self._last = reason
        return text


def _follow(api: "Connection", training_id: str, *, as_json: bool, require_goal: bool = False) -> None:
    """Print each round when it ends, the reasons when the training makes no progress, and finally how it ended."""
    shown, known, warned, reasons = 0, None, False, _Reasons()
    while True:
        training = Fields(api.call("GET", "/v1/trainings/{training_id}", training_id), "training")
        if not warned and training.has("unmatched_patterns"):
            warned = True
            click.echo(_unmatched(training.part("unmatched_patterns")), err=True)
        page = Fields(api.call("GET", "/v1/trainings/{training_id}/rounds", training_id), "page")
        for item in [Fields(item, "round") for item in reversed(page.items("items"))]:
            if item.whole("number") > shown and item.has("ended_at"):
                shown = item.whole("number")
                why = item.text("failure_reason") if item.has("failure_reason") else ""
                lines = "" if as_json else reasons.once("\n".join(shown_round(item, training)), why)
                click.echo(json.dumps(item.value) if as_json else lines)
        if training.text("status") in STOPPED:
            break
        progress = training.part("progress") if training.has("progress") else None
        hindrance = None if progress is None else (progress.value.get("state"), progress.value.get("reason"))
        if progress is not None and hindrance != known and progress.has("reason") and not as_json:
            why = progress.text("reason")
            click.echo(f"{progress.text('state')} since {progress.text('since')}: {reasons.once(why, why)}")
        known = hindrance
        time.sleep(POLL_SECONDS)
    click.echo(json.dumps(training.value) if as_json else _conclusion(training, reasons))
    if training.text("status") != "completed":
        raise click.exceptions.Exit(1)
    if require_goal and training.part("goal").has("target") and training.value.get("stop_reason") not in REACHED:
        raise click.exceptions.Exit(MISSED)


def _unmatched(patterns: Fields) -> str:
    """Warn of patterns that match no tensor, which may be misspelt."""
    found = {group: patterns.items(group) for group in ("averaged", "local", "frozen")}
    listed = "; ".join(f"{group} {escaped(', '.join(map(str, items)))}" for group, items in found.items() if items)
    local = ": tensors that should stay on the devices may be sent" if found["local"] else ""
    return f"warning: no tensor of the first model matches the patterns of {listed}{local}"


def _conclusion(training: Fields, reasons: _Reasons) -> str:
    reason = training.text("stop_reason") if training.has("stop_reason") else "no reason"
    detail = training.text("stop_detail") if training.has("stop_detail") else ""
    shown = f": {reasons.once(detail, detail)}" if detail else ""
    return f"{training.text('status')}: {reason}{shown}"
