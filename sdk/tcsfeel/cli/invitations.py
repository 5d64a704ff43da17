"""Commands with which operators invite devices.

The secret of a new invitation goes to standard output, and everything else to standard error.
"""

from typing import Any

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.bodies import seconds_of, tags_of, those_given
from tcsfeel.cli.completion import client_ids
from tcsfeel.cli.options import connect, json_option, key_option, server_option
from tcsfeel.cli.tables import show_list, show_secret
from tcsfeel.rest.paths import path

COLUMNS = ("invitation", "name", "state", "used", "ids", "expires")
DEVICE_COLUMNS = ("client", "key", "enrolled", "public key")

expires_option = click.option(
    "--expires", metavar="TIME", default="1d", help="How long it can be used, such as 90m, 12h or 7d"
)


@click.group(epilog="Example: tcsfeel invitations create --uses 100 --ids 'edge-*' --expires 7d")
def invitations() -> None:
    """Invite devices, so that each gets a key of its own."""


@invitations.command(epilog="Example: tcsfeel invitations create --uses 100 --ids 'edge-*' --tag site:north")
@click.option("--uses", default=1, help="How many devices may enrol with it")
@expires_option
@click.option("--ids", "id_pattern", metavar="PATTERN", help="Ids that devices may have, such as 'edge-*'")
@click.option("--tag", "tags", multiple=True, metavar="KEY:VALUE", help="Tag that the clients get; may be repeated")
@click.option("--name", help="Name of the invitation")
@server_option
@key_option
@json_option
def create(
    *,
    uses: int,
    expires: str,
    id_pattern: str | None,
    tags: tuple[str, ...],
    name: str | None,
    server: str,
    key: str | None,
    as_json: bool,
) -> None:
    """Make an invitation, and print its secret, which is not shown again.

    Each device starts its agent once with the secret: `tcsfeel agent --invite SECRET`.
    """
    body = those_given({"id_pattern": id_pattern, "name": name}) | {"uses": uses, "tags": tags_of(tags)}
    with connect(server, key) as api:
        made = api.call("POST", "/v1/invitations", json=body | {"expires_in_seconds": seconds_of("--expires", expires)})
    _show(made, as_json=as_json)


@invitations.command(epilog="Example: tcsfeel invitations replace edge-7")
@click.argument("client", shell_complete=client_ids)
@expires_option
@server_option
@key_option
@json_option
def replace(*, client: str, expires: str, server: str, key: str | None, as_json: bool) -> None:
    """Make an invitation for a new device that takes the place of CLIENT's device, and print its secret.

    When the new device enrols, the key of the old one is revoked at once.
    """
    body = {"expires_in_seconds": seconds_of("--expires", expires)}
    with connect(server, key) as api:
        made = api.call("POST", "/v1/clients/{client_id}/replacement", client, json=body)
    _show(made, as_json=as_json)


@invitations.command("list", epilog="Example: tcsfeel invitations list --json")
@server_option
@key_option
@json_option
def list_(*, server: str, key: str | None, as_json: bool) -> None:
    """List the invitations, newest first, without their secrets."""
    with connect(server, key) as api:
        items = api.all("/v1/invitations")
    show_list(items, COLUMNS, _row, noun="invitation", as_json=as_json)


@invitations.command(epilog="Example: tcsfeel invitations enrolments 4fd9a30c7be1528d")
@click.argument("invitation")
@server_option
@key_option
@json_option
def enrolments(*, invitation: str, server: str, key: str | None, as_json: bool) -> None:
    """List the devices that have enrolled with INVITATION, by client id. `tcsfeel keys revoke` takes the key ids."""
    with connect(server, key) as api:
        items = api.all(path("/v1/invitations/{invitation_id}/enrolments", invitation))
    show_list(items, DEVICE_COLUMNS, _device, noun="enrolment", as_json=as_json)


@invitations.command(epilog="Example: tcsfeel invitations revoke 4fd9a30c7be1528d")
@click.argument("invitation")
@server_option
@key_option
def revoke(*, invitation: str, server: str, key: str | None) -> None:
    """Revoke INVITATION, so that no more devices can enrol with it. Devices that have enrolled keep their keys."""
    with connect(server, key) as api:
        api.call("DELETE", "/v1/invitations/{invitation_id}", invitation)


def _show(made: Any, *, as_json: bool) -> None:
    new = Fields(made, "invitation")
    about = f"The invitation {new.text('id')} is valid until {new.text('expires_at')}."
    show_secret(new, "secret", about, as_json=as_json)


def _row(item: Fields) -> tuple[str, ...]:
    return (
        item.text("id"),
        item.text("name") if item.has("name") else "-",
        item.text("state"),
        f"{item.whole('used')}/{item.whole('uses')}",
        item.text("id_pattern") if item.has("id_pattern") else "-",
        item.text("expires_at"),
    )


def _device(item: Fields) -> tuple[str, ...]:
    return tuple(map(item.text, ("client_id", "key_id", "enrolled_at", "public_key")))
