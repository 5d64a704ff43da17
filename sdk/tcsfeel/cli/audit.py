"""Export the audit trail of a control plane, and check that nothing in it was changed, removed or put in between."""

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import IO, Any

import click

from tcsfeel.audit import BrokenChain, Chain
from tcsfeel.cli.answers import Fields
from tcsfeel.cli.ending import fail
from tcsfeel.cli.options import connect, json_option, key_option, server_option

LONGEST_LINE = 65_536  # bytes; a record has less than 10 000
_HASH_DIGITS = 64


@click.group()
def audit() -> None:
    """Export or verify the audit trail, or print its head: who did what, from where, with what result."""


@audit.command(epilog="Example: tcsfeel audit export --since 2026-11-01T00:00:00Z > audit.jsonl")
@server_option
@key_option
@click.option("--actor", help="Only calls of this actor")
@click.option("--operation", help="Only this operation, such as 'DELETE /v1/clients/{client_id}'")
@click.option("--result", type=click.Choice(["done", "refused", "failed"]), help="Only calls with this result")
@click.option("--since", help="Only calls answered at this time or later, such as 2026-11-01T00:00:00Z")
@click.option("--until", help="Only calls answered before this time")
def export(*, server: str, key: str | None, **only: str | None) -> None:
    """Write the audit records as JSON lines, in their order.

    Without options that leave records out, `tcsfeel audit verify` can check the output.
    """
    for name in ("since", "until"):
        _check_time(name, only[name])
    filters = [(name, value) for name, value in only.items() if value is not None]
    for record in _read(server, key, filters):
        click.echo(json.dumps(record, sort_keys=True, separators=(",", ":")))


@audit.command(epilog="Example: tcsfeel audit verify audit.jsonl --head 5f2c…")
@click.argument("file", type=click.File("rb"), required=False)
@server_option
@key_option
@click.option(
    "--head", metavar="HASH", help="A hash from `GET /v1/audit/head` that was kept: its record has to be there"
)
def verify(file: IO[bytes] | None, *, server: str, key: str | None, head: str | None) -> None:
    """Check that the records of FILE, or of the server if there is no FILE, form an unbroken chain.

    FILE has JSON lines as `tcsfeel audit export` writes them; - reads the standard input. The exit status is 1 if the
    chain is broken or the record with the hash HASH is not in it.
    """
    if head is not None and (len(head) != _HASH_DIGITS or not set(head) <= set("0123456789abcdef")):
        fail("--head should be the 64 hexadecimal digits of a `hash`, in lower case")
    chain, found = Chain(), head is None
    try:
        for record in _read(server, key, []) if file is None else _lines(file):
            found |= chain.check(record) == head
    except BrokenChain as error:
        fail(str(error))
    if chain.first is None and file is not None:
        fail("the file has no records, so nothing was verified: is it the output of `tcsfeel audit export`?")
    if not found:
        fail(f"no record has the hash {head}: records are missing at the end, or the whole chain was made anew")
    click.echo(_summary(chain))


@audit.command(epilog="Example: tcsfeel audit head >> heads.txt")
@server_option
@key_option
@json_option
def head(*, server: str, key: str | None, as_json: bool) -> None:
    """Print the hash of the newest audit record, to be kept elsewhere, for `tcsfeel audit verify --head HASH`."""
    with connect(server, key) as api:
        found = Fields(api.call("GET", "/v1/audit/head"), "head")
    if as_json:
        click.echo(json.dumps(found.value, indent=2))
        return
    at = f" of {found.text('at')}" if found.has("at") else ""
    click.echo(f"The newest record is {found.whole('sequence')}{at}. Its hash:", err=True)
    click.echo(found.text("hash"))


def _summary(chain: Chain) -> str:
    if chain.first is None:
        return "there are no records"
    start = "" if chain.first == 1 else f"; they follow record {chain.first - 1}, whose hash is {chain.anchor}"
    return f"{chain.count} records, {chain.first} to {chain.last}, form an unbroken chain{start}\nhead: {chain.head}"


def _read(server: str, key: str | None, filters: list[tuple[str, str]]) -> Iterator[Any]:
    """Read the records of a server page by page."""
    with connect(server, key) as api:
        yield from api.each("/v1/audit", filters)


def _lines(file: IO[bytes]) -> Iterator[Any]:
    """Read the records of a file."""
    for number in count(1):
        line = file.readline(LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            fail(f"line {number} is longer than {LONGEST_LINE} bytes, so it is no audit record")
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            fail(f"line {number} is not JSON")


def _check_time(name: str, value: str | None) -> None:
    if value is None:
        return
    try:
        known = datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        known = False
    if not known:
        fail(f"--{name} should be a time with its zone, such as 2026-11-01T00:00:00Z")
