"""The fleet at a glance: how many clients are healthy, and those with trouble first."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.fleet import COLUMNS, row_of
from tcsfeel.cli.options import connect, key_option, server_option
from tcsfeel.cli.tables import show_table
from tcsfeel.cli.terminal import is_live, plain_option

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tcsfeel.cli.connection import Connection

STATUSES = ("down", "suspect", "healthy")
SHORTEST_PAUSE = 2.0  # seconds between two looks
PAUSE = 5  # times as long as a look takes, so that a large fleet does not keep the server busy
HEAD = 4  # lines beside the clients


@click.command(epilog="Example: tcsfeel top")
@server_option
@key_option
@click.option("--clients", "most", type=click.IntRange(1, 1000), help="How many are listed; as many as the screen has")
@plain_option
def top(*, server: str, key: str | None, most: int | None, plain: bool) -> None:
    """Show the fleet: how many clients are healthy, and those with trouble first, until Ctrl-C.

    Where the output is not a terminal, it is printed once.
    """
    with connect(server, key) as api:
        if is_live(plain=plain, as_json=False):
            _watch(api, most)
        else:
            found = _read(api)
            click.echo(summary(found))
            show_table([COLUMNS, *(row_of(item) for item in found[: most or len(found)])])


def summary(found: Sequence[Fields]) -> str:
    """Count clients by status, and the breakers that are not closed."""
    count = Counter(item.text("status") for item in found)
    states = ", ".join(f"{count[status]} {status}" for status in reversed(STATUSES) if count[status])
    breakers = sum(item.text("breaker") != "closed" for item in found)
    return f"{len(found)} clients: {states or 'none'}; {breakers} breakers not closed"


def by_trouble(found: Sequence[Fields]) -> list[Fields]:
    """Put those with trouble first: down, an open breaker, suspect, and then those that failed most."""

    def trouble(item: Fields) -> tuple[bool, bool, bool, int, str]:
        status, failures = item.text("status"), 0
        if item.has("failures"):
            failures = sum(item.part("failures").whole(kind) for kind in ("unreachable", "faulty"))
        is_closed = item.text("breaker") == "closed"
        return status != "down", is_closed, status != "suspect", -failures, item.text("id")

    return sorted(found, key=trouble)


def _read(api: "Connection") -> list[Fields]:
    items = api.each("/v1/clients")
    return by_trouble([Fields(item, f"client {number}") for number, item in enumerate(items, start=1)])


def _watch(api: "Connection", most: int | None) -> None:
    from rich.console import Console  # noqa: PLC0415  (an extra, and slow to import)
    from rich.live import Live  # noqa: PLC0415  (an extra, and slow to import)

    console = Console()
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            began = time.monotonic()
            found = _read(api)
            live.update(_drawn(found, most or max(1, console.size.height - HEAD)), refresh=True)
            time.sleep(max(SHORTEST_PAUSE, PAUSE * (time.monotonic() - began)))


def _drawn(found: Sequence[Fields], most: int) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415  (an extra, and slow to import)
    from rich.table import Table  # noqa: PLC0415  (an extra, and slow to import)
    from rich.text import Text  # noqa: PLC0415  (an extra, and slow to import)

    table = Table(*COLUMNS, box=None, padding=(0, 2, 0, 0))
    for item in found[:most]:
        colour = {"down": "red", "suspect": "yellow"}.get(item.text("status"), "")
        if not colour and item.text("breaker") != "closed":
            colour = "yellow"
        table.add_row(*(Text(cell, style=colour) for cell in row_of(item)))
    left = f"and {len(found) - most} more" if len(found) > most else ""
    return Group(Text(summary(found), style="bold"), Text(), table, Text(left))
