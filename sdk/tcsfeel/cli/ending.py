"""How a command ends before its time: with one line of reason for people, and a status for programs."""

from typing import NoReturn

import click


def fail(reason: str) -> NoReturn:
    """End the command with 1 and a line on standard error."""
    click.echo(f"tcsfeel: {reason}", err=True)
    raise click.exceptions.Exit(1)
