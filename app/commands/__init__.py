"""What the server adds to the ``tcsfeel`` command: the control plane, the migration before it, and the demo.

`tcsfeel.cli` finds these by the entry points of the group ``tcsfeel.commands``, and loads all of them for any command:
so what they need is imported where it is used.
"""

import asyncio
import contextlib
from typing import Annotated, Any, NoReturn

import typer

from app.settings import Settings, WrongSetting

TARGET = 0.963


def fail(problem: str) -> NoReturn:
    """End the command with a line about a problem."""
    from tcsfeel.cli import connection  # noqa: PLC0415  (the command loads this module as it is imported itself)

    connection.fail(problem)


def load_settings(**overrides: Any) -> Settings:
    """Read the environment's settings; an override of None is none. Ends the command where one is wrong."""
    try:
        return Settings.load(**{name: value for name, value in overrides.items() if value is not None})
    except WrongSetting as error:
        fail(str(error))


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1]", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [8080]", show_default=False)] = None,
) -> None:
    """Start the control plane.

    It keeps its facts in an embedded SQLite file unless TCSFEEL_DATABASE__URL says otherwise.
    """
    from app import logs  # noqa: PLC0415  (the other commands should be quick)
    from app.commands import serving  # noqa: PLC0415

    settings = load_settings(host=host, port=port)
    logs.configure(settings.log)
    try:
        server = serving.prepared(settings)
    except (WrongSetting, OSError) as error:
        fail(str(error))
    with contextlib.suppress(SystemExit):  # of uvicorn, with a status of its own, after it has said why
        server.run()
    if not server.started:
        raise typer.Exit(1)


def migrate() -> None:
    """Bring the database up to date."""
    from app.services import starting  # noqa: PLC0415

    settings = load_settings()
    try:
        asyncio.run(starting.migrate(settings))
    except WrongSetting as error:
        fail(str(error))
    typer.echo("the database is up to date")


def demo(
    strategy: Annotated[str, typer.Option(help="Selection strategy to train with")] = "tcs-feel",
    agents: Annotated[int, typer.Option(min=10, max=200, help="How many agents")] = 50,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running to look at, until Ctrl-C")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the data's split, the network and the training")] = 1,
    target: Annotated[float, typer.Option(min=0, max=1, help="Accuracy at which it is done")] = TARGET,
) -> None:
    """Train to 96.3 % from nothing.

    A control plane, agents and real data, over real HTTP on this machine.
    """
    from app import demo as demonstration  # noqa: PLC0415

    try:
        demonstration.run(strategy=strategy, agents=agents, keep=keep, seed=seed, target_accuracy=target)
    except demonstration.DemoFailed as error:
        fail(str(error))
