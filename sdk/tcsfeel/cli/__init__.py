"""The ``tcsfeel`` command. Every command ends with a non-zero status and one line of reason when it fails.

A package adds commands by entry points of the group `GROUP`: functions for typer, under the command's name.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

from tcsfeel import __version__
from tcsfeel.cli import agents, following
from tcsfeel.cli.connection import fail

GROUP = "tcsfeel.commands"
EXAMPLES = {
    "serve": "tcsfeel serve --port 8080",
    "migrate": "TCSFEEL_DATABASE__URL=postgresql+asyncpg://… tcsfeel migrate",
    "demo": "tcsfeel demo --strategy random",
}
"""The commands of the package ``tcsfeel-server``, each with an example."""

cli = typer.Typer(
    name="tcsfeel", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


@cli.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    """Federated learning over networks whose links are not equal."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command. The working directory is no place to import from, but for the trainer of `agent`."""
    cli()


def _missing(name: str) -> Callable[..., None]:
    """Stand in for a command of a package that is not installed."""

    def command(_context: typer.Context) -> None:
        fail(f"`tcsfeel {name}` is part of the package tcsfeel-server: pip install tcsfeel-server")

    command.__doc__ = "Needs the package tcsfeel-server."
    return command


def _add(name: str, function: Callable[..., Any], example: str | None, **settings: Any) -> None:
    epilog = None if example is None else f"Example: {example}"
    cli.command(name, epilog=epilog, **settings)(function)


def _add_all() -> None:
    found = {point.name: point for point in entry_points(group=GROUP)}
    for name in [*EXAMPLES, *sorted(found.keys() - EXAMPLES.keys())]:
        if name in found:
            _add(name, found[name].load(), EXAMPLES.get(name))
        else:
            anything = {"allow_extra_args": True, "ignore_unknown_options": True}
            _add(name, _missing(name), None, context_settings=anything)
    agent = "tcsfeel agent my_trainer:MyTrainer --id edge-7 --server http://127.0.0.1:8080"
    _add("agent", agents.agent, agent)
    _add("train", following.train, "tcsfeel train --name digits --min-clients 2 --max-clients 10 --watch")
    _add("watch", following.watch, "tcsfeel watch 3f0c2a9d5b7e4c11")
    _add("clients", following.clients, "tcsfeel clients --json")


_add_all()
