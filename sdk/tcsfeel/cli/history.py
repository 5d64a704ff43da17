"""Show the rounds of a training: a line for each, and one for each client whose part in it failed or was skipped."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.completion import training_ids
from tcsfeel.cli.options import connect, json_option, key_option, server_option
from tcsfeel.rest.paths import path
from tcsfeel.rest.rows import COLUMNS, METRIC, PARTS, flat_rows
from tcsfeel.text import escaped

MISSING = ("failed", "rejected", "skipped", "carried")
"""The statuses of parts that are listed, with the most important ones first."""
MOST_LINES = 20  # of such parts of one round
_FORMULA = ("=", "+", "-", "@")  # with which a spreadsheet's formulas begin


@click.command(epilog="Example: tcsfeel rounds 3f0c2a9d5b7e4c11 --csv > rounds.csv")
@click.argument("training_id", metavar="ID", shell_complete=training_ids)
@server_option
@key_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a row for each client in each round")
@json_option
def rounds(training_id: str, *, server: str, key: str | None, as_csv: bool, as_json: bool) -> None:
    """List the rounds of a training, oldest first, with the clients that failed or were skipped.

    ID is the training's id. With --csv or --json, everything that each client reported is there: the status of its
    updates and evaluations, the reasons, and every metric.
    """
    with connect(server, key) as api:
        training = Fields(api.call("GET", "/v1/trainings/{training_id}", training_id), "training")
        items = api.all(path("/v1/trainings/{training_id}/rounds", training_id))[::-1]
    if as_json:
        click.echo(json.dumps(items, indent=2))
    elif as_csv:
        click.echo(_table({"training_id": training_id} | item for item in map(_checked, items)), nl=False)
    else:
        for item in items:
            click.echo("\n".join(shown_round(Fields(item, "round"), training)))


def shown_round(item: Fields, training: Fields) -> Iterator[str]:
    """Yield a line for a round, and one for each client whose update or evaluation failed or was skipped.

    A client's reason that the reason of the whole round has already is not shown again.
    """
    metric = training.part("goal").text("metric")
    measured = f"{item.number('goal_value'):.4f}" if item.has("goal_value") else "-"
    cost = f"{item.number('communication_cost'):.2f} s" if item.has("communication_cost") else "-"
    why = item.text("failure_reason") if item.has("failure_reason") else ""
    parts = [(kind, Fields(one, "part")) for kind, field in PARTS if item.has(field) for one in item.items(field)]
    received = sum(kind == "fit" and part.text("status") == "received" for kind, part in parts)
    updates = f"{received} of {len(item.items('selected_clients'))} updates"
    reason = f"  {why}" if why else ""
    yield f"round {item.whole('number'):3}  {item.text('status')}  {metric} {measured}  cost {cost}  {updates}{reason}"
    missing = [
        f"           {part.text('client_id')}: {kind} {status}: {part.text('reason')}"
        for status in MISSING
        for kind, part in parts
        if part.text("status") == status and part.has("reason")
        if f"{part.text('client_id')}: {part.text('reason')}" not in why
    ]
    yield from missing[:MOST_LINES]
    if len(missing) > MOST_LINES:
        yield f"           and {len(missing) - MOST_LINES} more"


def _table(items: Iterable[dict[str, Any]]) -> str:
    """Make CSV of rounds as the API shows them."""
    rows = [row for item in items for row in flat_rows(item)]
    metrics = sorted({name for row in rows for name in row if name.startswith(METRIC)})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, [*COLUMNS, *metrics]))
    writer.writerows([_cell(row.get(name)) for name in [*COLUMNS, *metrics]] for row in rows)
    return text.getvalue()


def _checked(item: Any) -> dict[str, Any]:
    """Return a round of an answer whose parts are objects. Otherwise the command ends."""
    found = Fields(item, "round")
    found.whole("number")
    for _, field in PARTS:
        for part in [Fields(one, f"round.{field}") for one in found.items(field)]:
            if part.has("metrics"):
                part.part("metrics")
    return found.value


def _cell(value: object) -> object:
    """Make a cell that neither a terminal nor a spreadsheet obeys."""
    if not isinstance(value, str):
        return value
    return escaped(f"'{value}" if value.startswith(_FORMULA) else value)
