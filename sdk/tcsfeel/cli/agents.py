"""The command that runs an agent on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from tcsfeel import logs
from tcsfeel.agent import AgentError, load_trainer
from tcsfeel.agent import serve as serve_agent
from tcsfeel.cli.connection import DEFAULT_SERVER, Key, Server, fail, find_key


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
    try:
        logs.configure()
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
