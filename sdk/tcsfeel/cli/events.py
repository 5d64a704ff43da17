"""Print what happens at a control plane, and go on as it happens."""

import json
from typing import Any

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.options import connect, key_option, server_option
from tcsfeel.text import escaped

LONGEST = 400  # characters of the data of an event in a line


@click.command(epilog="Example: tcsfeel events -f --type round.completed --type client.down")
@server_option
@key_option
@click.option("--follow", "-f", is_flag=True, help="Wait for further events, until Ctrl-C")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Begin after the event with this id")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only events of this type; may be repeated")
@click.option("--training", metavar="ID", help="Only events of this training")
@click.option("--client", metavar="ID", help="Only events of this client")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each event")
def events(
    *,
    server: str,
    key: str | None,
    follow: bool,
    after: int,
    types: tuple[str, ...],
    training: str | None,
    client: str | None,
    as_json: bool,
) -> None:
    """Print the events of a control plane, oldest first: a line for each, with its time, its type and what it says."""
    filters = [("type", name) for name in types]
    filters += [(name, value) for name, value in (("training", training), ("client", client)) if value is not None]
    with connect(server, key) as api:
        for event in api.events(filters, after, follow=follow):
            click.echo(json.dumps(event) if as_json else line_of(Fields(event, "event")))


def line_of(event: Fields) -> str:
    """Make the line of an event. Its data are cut where they are long."""
    at = event.text("at").removesuffix("Z")
    about = " ".join(_about(event))
    data = ", ".join(f"{escaped(str(name))}={_short(value)}" for name, value in event.part("data").value.items())
    by = f"  by {event.text('actor')}" if event.has("actor") else ""
    return f"{event.whole('id'):6}  {at}  {event.text('type')}  {about}  {data[:LONGEST]}{by}"


def _about(event: Fields) -> list[str]:
    """Name what the event is about."""
    found = [f"{name}={event.text(f'{name}_id')}" for name in ("training", "client") if event.has(f"{name}_id")]
    return [*found, *([f"round={event.whole('round')}"] if event.has("round") else [])]


def _short(value: Any) -> str:
    return escaped(value if isinstance(value, str) else json.dumps(value))
