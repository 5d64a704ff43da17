"""Commands about clients: list them, show one with its failures, remove it, and move its circuit breaker."""

import json
from typing import Any

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.completion import client_ids
from tcsfeel.cli.options import connect, json_option, key_option, server_option
from tcsfeel.cli.tables import show_list, show_table

BREAKER_STATES = ["closed", "open", "half_open"]
COLUMNS = ("client", "status", "breaker", "samples", "Mbps", "ms", "reliability", "rounds", "failures")


@click.command(epilog="Example: tcsfeel clients --healthy --breaker closed --json")
@click.option("--healthy/--unhealthy", default=None, help="Only clients that are healthy, or only those that are not")
@click.option(
    "--breaker", type=click.Choice(BREAKER_STATES), help="Only clients whose circuit breaker is in this state"
)
@server_option
@key_option
@json_option
def clients(*, healthy: bool | None, breaker: str | None, server: str, key: str | None, as_json: bool) -> None:
    """List the registered clients."""
    filters = [] if healthy is None else [("healthy", "true" if healthy else "false")]
    filters += [] if breaker is None else [("breaker", breaker)]
    with connect(server, key) as api:
        items = list(api.each("/v1/clients", filters))
    show_list(items, COLUMNS, row_of, noun="client", as_json=as_json)


@click.command(epilog="Example: tcsfeel client edge-7")
@click.argument("client_id", metavar="ID", shell_complete=client_ids)
@server_option
@key_option
@json_option
def client(client_id: str, *, server: str, key: str | None, as_json: bool) -> None:
    """Show one client: its state, and what its last failures were.

    ID is the client's id. With --json, its whole profile and its breaker are there.
    """
    with connect(server, key) as api:
        found = api.call("GET", "/v1/clients/{client_id}", client_id)
        breaker = api.call("GET", "/v1/clients/{client_id}/breaker", client_id)
    if as_json:
        click.echo(json.dumps({"client": found, "breaker": breaker}, indent=2))
        return
    show_table([COLUMNS, row_of(Fields(found, "client"))])
    if Fields(found, "client").has("unproven"):
        click.echo(f"gets no tasks: {Fields(found, 'client').text('unproven')}")
    _show_breaker(Fields(breaker, "breaker"))


@click.command("remove-client", epilog="Example: tcsfeel remove-client edge-7")
@click.argument("client_id", metavar="ID", shell_complete=client_ids)
@server_option
@key_option
def remove_client(client_id: str, *, server: str, key: str | None) -> None:
    """Remove a client, and revoke the key of its device.

    ID is the client's id. The rounds that it took part in stay. A device that has enrolled cannot enrol under this id
    again, unless `tcsfeel invitations replace ID` lets it.
    """
    with connect(server, key) as api:
        api.call("DELETE", "/v1/clients/{client_id}", client_id)


@click.command(epilog="Example: tcsfeel breaker edge-7 reset")
@click.argument("client_id", metavar="ID", shell_complete=client_ids)
@click.argument("action", type=click.Choice(["reset", "open"]))
@server_option
@key_option
@json_option
def breaker(client_id: str, action: str, *, server: str, key: str | None, as_json: bool) -> None:
    """Close a client's circuit breaker with `reset`, or isolate the client with `open`.

    ID is the client's id. A breaker that was opened by hand stays open until it is reset.
    """
    with connect(server, key) as api:
        changed = api.call("POST", f"/v1/clients/{{client_id}}/breaker/{action}", client_id)
    if as_json:
        click.echo(json.dumps(changed, indent=2))
    else:
        _show_breaker(Fields(changed, "breaker"))


@click.command(epilog="Example: tcsfeel outcome edge-7 unreachable --reason 'no connection within 10 s'")
@click.argument("client_id", metavar="ID", shell_complete=client_ids)
@click.argument("outcome", type=click.Choice(["success", "unreachable", "faulty"]))
@click.option("--phase", type=click.Choice(["fit", "evaluate"]), default="fit", help="Which work the call was about")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="How long the call took")
@click.option("--quality", type=click.FloatRange(0, 1), help="Quality of the update that it brought")
@click.option("--reason", help="Why it failed")
@server_option
@key_option
@json_option
def outcome(client_id: str, outcome: str, *, server: str, key: str | None, as_json: bool, **given: Any) -> None:
    """Report how a call of a client ended that another program made.

    ID is the client's id. A client that was `unreachable`, or whose work was `faulty`, too often is not called any more
    until its circuit breaker lets a call through.
    """
    body = {"success": True} if outcome == "success" else {"success": False, "kind": outcome}
    named = {"update_quality" if name == "quality" else name: value for name, value in given.items()}
    body |= {name: value for name, value in named.items() if value is not None}
    with connect(server, key) as api:
        known = api.call("POST", "/v1/clients/{client_id}/outcomes", client_id, json=body)
    if as_json:
        click.echo(json.dumps(known, indent=2))
    else:
        _show_breaker(Fields(known, "outcome").part("breaker"))


def _show_breaker(found: Fields) -> None:
    """Print the state of a breaker, why it is open, and the last failures, the latest first."""
    cause = f", opened because {found.text('cause')}" if found.has("cause") else ""
    again = f"; the next probe is let through at {found.text('retry_at')}" if found.has("retry_at") else ""
    click.echo(f"breaker {found.text('state')}{cause}{again}")
    for item in reversed(found.items("last_failures")):
        failure = Fields(item, "failure")
        click.echo(f"  {failure.text('at')}  {_where(failure)}: {failure.text('reason')}")


def _where(failure: Fields) -> str:
    """Say in which phase of which round a client failed."""
    parts = [failure.text("phase")]
    if failure.has("training_id"):
        parts.append(f"of training {failure.text('training_id')}")
    if failure.has("round"):
        parts.append(f"round {failure.whole('round')}")
    return " ".join(parts)


def row_of(item: Fields) -> tuple[str, ...]:
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
