"""Commands that list trainings, and pause, resume or cancel one."""

import json
from collections.abc import Callable
from typing import Any

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.completion import training_ids
from tcsfeel.cli.options import connect, json_option, key_option, server_option
from tcsfeel.cli.tables import show_list, show_table

COLUMNS = ("training", "name", "status", "round", "metric", "value", "best", "reason")


@click.command(epilog="Example: tcsfeel trainings")
@server_option
@key_option
@json_option
def trainings(*, server: str, key: str | None, as_json: bool) -> None:
    """List the trainings, the newest first, with what each has reached and what holds it up."""
    with connect(server, key) as api:
        items = api.all("/v1/trainings")
    show_list(items, COLUMNS, _row, noun="training", as_json=as_json)


def _steered(action: str, described: str) -> click.Command:
    """Make the command that calls one of a training's operations."""

    def command(training_id: str, *, server: str, key: str | None, as_json: bool) -> None:
        with connect(server, key) as api:
            changed: Any = api.call("POST", f"/v1/trainings/{{training_id}}/{action}", training_id)
        if as_json:
            click.echo(json.dumps(changed, indent=2))
        else:
            show_table([COLUMNS, _row(Fields(changed, "training"))])

    made: Callable[..., Any] = command
    for decorate in (
        json_option,
        key_option,
        server_option,
        click.argument("training_id", metavar="ID", shell_complete=training_ids),
    ):
        made = decorate(made)
    return click.command(
        action,
        help=f"{described}\n\nID is the training's id.",
        epilog=f"Example: tcsfeel {action} 3f0c2a9d5b7e4c11",
    )(made)


pause = _steered("pause", "Pause a training: its open round is interrupted, and continues when it is resumed.")
resume = _steered("resume", "Let a training that is paused, or that has failed, go on.")
cancel = _steered("cancel", "End a training for good. Its open round is abandoned, and its model versions stay.")


def _row(item: Fields) -> tuple[str, ...]:
    goal = item.part("goal")
    reason = item.part("progress") if item.has("progress") else None
    why = item.text("stop_reason") if item.has("stop_reason") else ""
    if reason is not None and reason.has("reason"):
        why = f"{reason.text('state')}: {reason.text('reason')}"
    return (
        item.text("id"),
        item.text("name"),
        item.text("status"),
        f"{item.whole('current_round')}/{item.whole('max_rounds')}",
        goal.text("metric"),
        f"{item.number('goal_value'):.4f}" if item.has("goal_value") else "-",
        f"{item.number('best_value'):.4f}" if item.has("best_value") else "-",
        why,
    )
