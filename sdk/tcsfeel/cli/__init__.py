"""The ``tcsfeel`` command. Every command ends with a non-zero status and one line of reason when it fails.

A package adds commands by entry points of the group `GROUP`, each of which names a `click.Command`. To list the
commands, all of them are loaded, so a command imports slow modules inside its function.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from tcsfeel import __version__
from tcsfeel.cli import (
    agents,
    audit,
    describing,
    events,
    fleet,
    following,
    history,
    invitations,
    keys,
    steering,
    top,
    webhooks,
)
from tcsfeel.cli.ending import fail
from tcsfeel.text import plain

GROUP = "tcsfeel.commands"
SERVER = ("serve", "migrate", "demo", "secrets", "backup", "restore", "verify")
"""The commands of the package ``tcsfeel-server``."""
INTERRUPTED = 130  # the status that shells give to a command that Ctrl-C has ended


class Commands(click.Group):
    """The library's commands, and those of other packages, which are loaded when they are looked up."""

    def __init__(self, added: Iterable[EntryPoint]) -> None:
        super().__init__(
            "tcsfeel",
            commands=[
                agents.agent,
                invitations.invitations,
                following.train,
                following.extend,
                following.watch,
                history.rounds,
                steering.trainings,
                steering.pause,
                steering.resume,
                steering.cancel,
                describing.describe,
                top.top,
                fleet.clients,
                fleet.client,
                fleet.remove_client,
                fleet.breaker,
                fleet.outcome,
                events.events,
                webhooks.webhooks,
                audit.audit,
                keys.keys,
            ],
            help="Federated learning over networks whose links are not equal.",
            context_settings={"show_default": True},
        )
        self._added = {point.name: point for point in added}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Name the commands in the order of the help: the server's, those of other packages, the library's."""
        others = sorted(self._added.keys() - self.commands.keys() - set(SERVER))
        return [*SERVER, *others, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command. If it belongs to the server, which is not installed, the command says what to install."""
        own = super().get_command(ctx, cmd_name)
        if own is None and cmd_name in self._added:
            return _loaded(self._added[cmd_name])
        return _missing(cmd_name) if own is None and cmd_name in SERVER else own

    def invoke(self, ctx: click.Context) -> Any:
        """Run the requested command. Ctrl-C ends it without a message."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


def _loaded(point: EntryPoint) -> click.Command:
    """Load a command of another package, or make one that says why it cannot be used."""
    try:
        found = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  (the other package's code may raise anything)
        return _unusable(point, f"{type(error).__name__}: {error}")
    if isinstance(found, click.Command):
        return found
    return _unusable(point, f"{point.value} is no click.Command")


def _unusable(point: EntryPoint, detail: str) -> click.Command:
    package = point.dist.name if point.dist else point.module
    reason = plain(f"the command of the package {package} cannot be used: {detail}")
    return _stand_in(point.name, f"`tcsfeel {point.name}`: {reason}", reason[0].upper() + reason[1:])


def _missing(name: str) -> click.Command:
    """Make a command that stands in for one of a package that is not installed."""
    reason = f"`tcsfeel {name}` is part of the package tcsfeel-server: pip install tcsfeel-server"
    return _stand_in(name, reason, "Needs the package tcsfeel-server.")


def _stand_in(name: str, reason: str, described: str) -> click.Command:
    """Make a command that ends with the reason why the real one cannot be used."""

    def command() -> None:
        fail(reason)

    return click.Command(
        name,
        callback=command,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        help=described,
    )


cli = click.version_option(__version__, message="%(version)s", help="Print the version")(
    Commands(entry_points(group=GROUP))
)


def main() -> None:
    """Run the command. Nothing is imported from the working directory, except the trainer of `agent`."""
    cli()
