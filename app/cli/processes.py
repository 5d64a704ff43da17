"""Commands that run something on this machine: the control plane, an agent, the demo; and the migration before them."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer

from app import demo as demonstration
from app import logs
from app.agent import AgentError, load_trainer
from app.agent import serve as serve_agent
from app.cli.connection import DEFAULT_SERVER, Key, Server, fail, find_key, load_settings
from app.settings import WrongSetting


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1]", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [8080]", show_default=False)] = None,
) -> None:
    """Start the control plane.

    It keeps its facts in an embedded SQLite file unless TCSFEEL_DATABASE__URL says otherwise.
    """
    from app.cli import serving  # noqa: PLC0415  (it loads the whole control plane, and the other commands are quick)

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


def agent(
    trainer: Annotated[str, typer.Argument(help="`package.module:attribute` of a trainer", metavar="TRAINER")],
    *,
    client_id: Annotated[str, typer.Option("--id", help="The client's id")],
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free one")] = 0,
    advertise_url: Annotated[str | None, typer.Option(help="How the control plane reaches the agent")] = None,
    label_privacy: Annotated[
        float | None, typer.Option(help="Epsilon of the noise on the label counts that are reported", metavar="EPS")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Where the noise is kept for the next start", metavar="DIR")
    ] = None,
) -> None:
    """Serve a trainer beside its data.

    The agent registers, sends heartbeats, and trains when it is asked, until Ctrl-C.
    """
    logs.configure(load_settings().log)
    try:
        serve_agent(
            load_trainer(trainer),
            client_id=client_id,
            server_url=server,
            api_key=find_key(key),
            host=host,
            port=port,
            advertise_url=advertise_url,
            label_privacy=label_privacy,
            state=state,
        )
    except (AgentError, ValueError) as error:
        fail(str(error))


def demo(
    strategy: Annotated[str, typer.Option(help="Selection strategy to train with")] = "tcs-feel",
    agents: Annotated[int, typer.Option(min=10, max=200, help="How many agents")] = 50,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running to look at, until Ctrl-C")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the data's split, the network and the training")] = 1,
    target: Annotated[float, typer.Option(min=0, max=1, help="Accuracy at which it is done")] = demonstration.TARGET,
) -> None:
    """Train to 96.3 % from nothing.

    A control plane, agents and real data, over real HTTP on this machine.
    """
    try:
        demonstration.run(strategy=strategy, agents=agents, keep=keep, seed=seed, target_accuracy=target)
    except demonstration.DemoFailed as error:
        fail(str(error))
