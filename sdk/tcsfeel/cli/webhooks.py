"""Commands with which admins let events be sent to a receiver.

The secret of a new webhook goes to standard output, and everything else to standard error.
"""

from typing import Any

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.bodies import those_given
from tcsfeel.cli.options import connect, json_option, key_option, server_option
from tcsfeel.cli.tables import show_list, show_secret
from tcsfeel.rest.paths import path
from tcsfeel.text import escaped

COLUMNS = ("webhook", "name", "url", "events", "state", "problem")
DEAD_COLUMNS = ("event", "type", "tries", "given up", "status", "problem")


@click.group(epilog="Example: tcsfeel webhooks create https://example.com/tcsfeel --type training.completed")
def webhooks() -> None:
    """Send events to receivers as they happen, signed and repeated until they arrive."""


@webhooks.command(epilog="Example: tcsfeel webhooks create https://example.com/tcsfeel --type training.completed")
@click.argument("url")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only events of this type; may be repeated")
@click.option("--training", metavar="ID", help="Only events of this training")
@click.option("--name", help="Name of the webhook")
@server_option
@key_option
@json_option
def create(
    url: str,
    *,
    types: tuple[str, ...],
    training: str | None,
    name: str | None,
    server: str,
    key: str | None,
    as_json: bool,
) -> None:
    """Send events to URL from now on, and print the secret that signs them, which is not shown again."""
    body = those_given({"training_id": training, "name": name}) | {"url": url, "types": list(types)}
    with connect(server, key) as api:
        made = api.call("POST", "/v1/webhooks", json=body)
    new = Fields(made, "webhook")
    about = f"The webhook {new.text('id')} gets the events from now on. They are signed with this secret."
    show_secret(new, "secret", about, as_json=as_json)


@webhooks.command("list", epilog="Example: tcsfeel webhooks list --json")
@server_option
@key_option
@json_option
def list_(*, server: str, key: str | None, as_json: bool) -> None:
    """List the webhooks, newest first, and what keeps their receivers from taking events."""
    with connect(server, key) as api:
        items = api.all("/v1/webhooks")
    show_list(items, COLUMNS, _row, noun="webhook", as_json=as_json)


@webhooks.command(epilog="Example: tcsfeel webhooks enable 9f2c4b7a1d3e5f60")
@click.argument("webhook")
@server_option
@key_option
def enable(*, webhook: str, server: str, key: str | None) -> None:
    """Send events to WEBHOOK again, and those that it has missed."""
    with connect(server, key) as api:
        api.call("PATCH", "/v1/webhooks/{webhook_id}", webhook, json={"enabled": True})


@webhooks.command(epilog="Example: tcsfeel webhooks disable 9f2c4b7a1d3e5f60")
@click.argument("webhook")
@server_option
@key_option
def disable(*, webhook: str, server: str, key: str | None) -> None:
    """Send nothing to WEBHOOK until it is enabled again."""
    with connect(server, key) as api:
        api.call("PATCH", "/v1/webhooks/{webhook_id}", webhook, json={"enabled": False})


@webhooks.command(epilog="Example: tcsfeel webhooks remove 9f2c4b7a1d3e5f60")
@click.argument("webhook")
@server_option
@key_option
def remove(*, webhook: str, server: str, key: str | None) -> None:
    """Remove WEBHOOK, with the deliveries that were given up."""
    with connect(server, key) as api:
        api.call("DELETE", "/v1/webhooks/{webhook_id}", webhook)


@webhooks.command(epilog="Example: tcsfeel webhooks dead 9f2c4b7a1d3e5f60")
@click.argument("webhook")
@server_option
@key_option
@json_option
def dead(*, webhook: str, server: str, key: str | None, as_json: bool) -> None:
    """List the events that WEBHOOK did not take after all tries."""
    with connect(server, key) as api:
        items = api.all(path("/v1/webhooks/{webhook_id}/dead-letters", webhook))
    show_list(items, DEAD_COLUMNS, _dead_row, noun="delivery", as_json=as_json)


@webhooks.command(epilog="Example: tcsfeel webhooks redeliver 9f2c4b7a1d3e5f60 --event 4711")
@click.argument("webhook")
@click.option("--event", "events", multiple=True, type=click.IntRange(min=1), help="Only this event; may be repeated")
@server_option
@key_option
def redeliver(*, webhook: str, events: tuple[int, ...], server: str, key: str | None) -> None:
    """Try the events again that WEBHOOK did not take."""
    body: dict[str, Any] = {"event_ids": list(events)} if events else {}
    with connect(server, key) as api:
        done = Fields(api.call("POST", "/v1/webhooks/{webhook_id}/redeliver", webhook, json=body), "answer")
    click.echo(f"{done.whole('redelivered')} events are tried again", err=True)


def _row(item: Fields) -> tuple[str, ...]:
    state = "disabled" if not item.value.get("enabled") else "failing" if item.has("failing_since") else "ok"
    return (
        item.text("id"),
        item.text("name") if item.has("name") else "-",
        item.text("url"),
        ", ".join(escaped(str(one)) for one in item.items("types")) or "all",
        state,
        item.text("problem") if item.has("problem") else "-",
    )


def _dead_row(item: Fields) -> tuple[str, ...]:
    return (
        str(item.whole("event_id")),
        item.text("type"),
        str(item.whole("attempts")),
        item.text("died_at"),
        str(item.whole("status")) if item.has("status") else "-",
        item.text("problem") if item.has("problem") else "-",
    )
