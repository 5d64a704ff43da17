"""End a command early, with a one-line reason for people and an exit status for programs."""

from typing import IO, Any, NoReturn

import click

from tcsfeel.text import escaped


class Ended(click.ClickException):
    """The command ends with the status 1. The reason is printed at last, when no view covers the terminal any more."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the reason as a line on standard error."""
        click.echo(f"tcsfeel: {escaped(self.message)}", file=file, err=True)


def fail(reason: str) -> NoReturn:
    """End the command with the status 1 and a line on standard error."""
    raise Ended(reason)
