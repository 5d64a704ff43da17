"""End a command early, with a one-line reason for people and an exit status for programs."""

from typing import NoReturn

import click

from tcsfeel.text import escaped


def fail(reason: str) -> NoReturn:
    """End the command with the status 1 and a line on standard error."""
    click.echo(f"tcsfeel: {escaped(reason)}", err=True)
    raise click.exceptions.Exit(1)
