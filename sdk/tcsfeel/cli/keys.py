"""The commands that make, list, rotate and revoke API keys.

The text of a new key goes to standard output, and everything else to standard error. So a script can store the key.
"""

import re
from typing import Any

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.bodies import seconds_of, those_given
from tcsfeel.cli.options import connect, json_option, key_option, server_option
from tcsfeel.cli.tables import show_list, show_secret
from tcsfeel.text import escaped

COLUMNS = ("id", "name", "role", "client", "state", "created", "expires", "last used")


@click.group(epilog="Example: tcsfeel keys create --role operator --name ci --expires 90d")
def keys() -> None:
    """Make, list, rotate and revoke API keys. Needs the key of an admin."""


@keys.command(epilog="Example: tcsfeel keys create --role operator --name ci --expires 90d > ci-key")
@click.option("--role", type=click.Choice(["viewer", "operator", "admin", "agent"]), required=True, help="Its role")
@click.option("--name", required=True, help="The name of the key, which events show as their actor")
@click.option("--client", "client_id", metavar="ID", help="The client of an agent, with --role agent")
@click.option("--expires", metavar="TIME", help="How long it is valid, such as 90d or 12h; for ever by default")
@server_option
@key_option
@json_option
def create(
    *, role: str, name: str, client_id: str | None, expires: str | None, server: str, key: str | None, as_json: bool
) -> None:
    """Make a key and print it. Nobody can read it later."""
    given = {"client_id": client_id, "lifetime_seconds": seconds_of("--expires", expires)}
    with connect(server, key) as api:
        _show_new(api.call("POST", "/v1/keys", json={"name": name, "role": role} | those_given(given)), as_json=as_json)


@keys.command("list", epilog="Example: tcsfeel keys list --all")
@click.option("--all", "with_ended", is_flag=True, help="Also list keys that have expired or were revoked")
@server_option
@key_option
@json_option
def list_(*, with_ended: bool, server: str, key: str | None, as_json: bool) -> None:
    """List the keys, newest first. Their texts are not known to anybody."""
    with connect(server, key) as api:
        items = [item for item in api.all("/v1/keys") if with_ended or Fields(item, "key").text("state") == "valid"]
    show_list(items, COLUMNS, _row, noun="key", as_json=as_json)


@keys.command(epilog="Example: tcsfeel keys rotate 3f0c2a9d5b7e --grace 1h > ci-key")
@click.argument("key_id", metavar="ID")
@click.option("--grace", metavar="TIME", help="How long the old key stays valid, such as 1h or 0s; a day by default")
@click.option("--expires", metavar="TIME", help="How long the new key is valid; by default as long as the old one was")
@server_option
@key_option
@json_option
def rotate(key_id: str, *, grace: str | None, expires: str | None, server: str, key: str | None, as_json: bool) -> None:
    """Make a new key in place of a valid one, and print it.

    ID is the key's id, which is also a part of its text. The old key stays valid for a time.
    """
    given = {"grace_seconds": seconds_of("--grace", grace), "lifetime_seconds": seconds_of("--expires", expires)}
    with connect(server, key) as api:
        new = api.call("POST", "/v1/keys/{key_id}/rotate", key_id, json=those_given(given))
        _show_new(new, as_json=as_json)


@keys.command(epilog="Example: tcsfeel keys revoke 3f0c2a9d5b7e")
@click.argument("key_id", metavar="ID")
@server_option
@key_option
def revoke(key_id: str, *, server: str, key: str | None) -> None:
    """Make a key invalid, on every server within 5 seconds.

    ID is the key's id, which is also a part of its text.
    """
    with connect(server, key) as api:
        api.call("DELETE", "/v1/keys/{key_id}", key_id)


def _show_new(answer: Any, *, as_json: bool) -> None:
    new = Fields(answer, "key")
    until = f"until {new.text('expires_at')}" if new.has("expires_at") else "for ever, unless it is revoked"
    show_secret(new, "key", f"The key {new.text('id')} is valid {until}.", as_json=as_json)


def _row(item: Fields) -> tuple[str, ...]:
    """Make the row of a key for the table."""
    optional = ("client_id", "state", "created_at", "expires_at", "last_used_at")
    client, *rest = (item.text(name) if item.has(name) else "-" for name in optional)
    return (item.text("id"), item.text("name"), item.text("role"), client, *map(_to_the_second, rest))


def _to_the_second(text: str) -> str:
    """Leave the fraction out of an instant."""
    return escaped(re.sub(r"\.[0-9]+Z$", "Z", text))
