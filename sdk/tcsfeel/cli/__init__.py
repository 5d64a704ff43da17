"""The ``tcsfeel`` command. Every command ends with a non-zero status and one line of reason when it fails.

A package adds commands by entry points of the group `GROUP`: each names a `click.Command`. The list of commands loads
them all, so commands import what takes long inside their functions.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from tcsfeel import __version__
from tcsfeel.cli import agents, following
from tcsfeel.cli.ending import fail

GROUP = "tcsfeel.commands"
SERVER = ("serve", "migrate", "demo")
"""The commands of the package ``tcsfeel-server``."""
INTERRUPTED = 130  # what shells give for a command that Ctrl-C has ended


class Commands(click.Group):
    """The library's commands, and those that other packages add, which are loaded when they are looked up."""

    def __init__(self, added: Iterable[EntryPoint]) -> None:
        super().__init__(
            "tcsfeel",
            commands=[agents.agent, following.train, following.watch, following.clients],
            help="Federated learning over networks whose links are not equal.",
            context_settings={"show_default": True},
        )
        self._added = {point.name: point for point in added}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Name the commands in the order of the help: the server's, those of other packages, the library's."""
        others = sorted(self._added.keys() - self.commands.keys() - set(SERVER))
        return [*SERVER, *others, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command. One of a server that is not installed says what to install."""
        own = super().get_command(ctx, cmd_name)
        if own is None and cmd_name in self._added:
            found: click.Command = self._added[cmd_name].load()
            return found
        return _missing(cmd_name) if own is None and cmd_name in SERVER else own

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is asked for. Ctrl-C ends it without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


def _missing(name: str) -> click.Command:
    """Stand in for a command of a package that is not installed."""

    def command() -> None:
        fail(f"`tcsfeel {name}` is part of the package tcsfeel-server: pip install tcsfeel-server")

    return click.Command(
        name,
        callback=command,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        help="Needs the package tcsfeel-server.",
    )


cli = click.version_option(__version__, message="%(version)s", help="Print the version")(
    Commands(entry_points(group=GROUP))
)


def main() -> None:
    """Run the command. The working directory is no place to import from, but for the trainer of `agent`."""
    cli()
