"""Print tables for people, and secrets for scripts."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from tcsfeel.cli.answers import Fields


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells, whose columns are as wide as their longest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show_list(
    items: Sequence[Any],
    columns: Sequence[str],
    cells: Callable[[Fields], Sequence[str]],
    *,
    noun: str,
    as_json: bool,
) -> None:
    """Print what the control plane has listed, as JSON or as a table. Errors call the items by `noun` and number."""
    if as_json:
        click.echo(json.dumps(items, indent=2))
        return
    rows = (cells(Fields(item, f"{noun} {number}")) for number, item in enumerate(items, start=1))
    show_table([columns, *rows])


def show_secret(made: Fields, field: str, about: str, *, as_json: bool) -> None:
    """Print a new secret alone to standard output, so that a script can store it, or all that was made as JSON.

    `about` is a sentence of what was made; it goes to standard error.
    """
    secret = made.text(field)
    if not as_json:
        click.echo(f"{about} It is shown only now:", err=True)
    click.echo(json.dumps(made.value, indent=2) if as_json else secret)
