"""The ``tcsfeel`` command. Every command ends with a non-zero status and one line of reason when it fails."""

from typing import Annotated

import typer

from app import __version__
from app.cli import following, processes

cli = typer.Typer(
    name="tcsfeel", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


@cli.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    """A control plane for federated learning over networks whose links are not equal."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


cli.command(epilog="Example: tcsfeel serve --port 8080")(processes.serve)
cli.command(epilog="Example: TCSFEEL_DATABASE__URL=postgresql+asyncpg://… tcsfeel migrate")(processes.migrate)
cli.command(epilog="Example: tcsfeel demo --strategy random")(processes.demo)
cli.command(epilog="Example: tcsfeel agent my_trainer:MyTrainer --id edge-7 --server http://127.0.0.1:8080")(
    processes.agent
)
cli.command(epilog="Example: tcsfeel train --name digits --min-clients 2 --max-clients 10 --watch")(following.train)
cli.command(epilog="Example: tcsfeel watch 3f0c2a9d5b7e4c11")(following.watch)
cli.command(epilog="Example: tcsfeel clients --json")(following.clients)


def main() -> None:
    """The entry point. The working directory is no place to import from, but for the trainer of `agent`."""
    cli()
