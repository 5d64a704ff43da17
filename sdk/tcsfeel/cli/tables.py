"""Print a table for people."""

from collections.abc import Sequence

import click


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells, whose columns are as wide as their longest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
