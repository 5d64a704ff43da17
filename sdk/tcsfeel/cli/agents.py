"""The command that runs an agent on this machine."""

from pathlib import Path

import click
from click.core import ParameterSource

from tcsfeel.cli.ending import fail
from tcsfeel.cli.options import ca_file, find_key, key_option, server_option
from tcsfeel.keys import read_key

NO_KEY = "ask an operator for an invitation, and give its secret with --invite"


@click.command(epilog="Example: tcsfeel agent my_trainer:MyTrainer --id edge-7 --server http://127.0.0.1:8080")
@click.argument("trainer", metavar="TRAINER")
@click.option("--id", "client_id", required=True, help="The client's id")
@server_option
@key_option
@click.option(
    "--invite",
    envvar="TCSFEEL_INVITE",
    show_envvar=True,
    metavar="SECRET",
    help="Secret of an invitation, with which the client enrols if it has no key of its own",
)
@click.option(
    "--invite-file", type=click.Path(path_type=Path), metavar="FILE", help="File with the secret of an invitation"
)
@click.option("--host", default="127.0.0.1", help="Address to listen on")
@click.option("--port", default=0, help="Port to listen on; 0 for any free one")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Certificate of the agent (PEM)")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Private key of the certificate (PEM)")
@click.option(
    "--pull/--no-pull",
    default=None,
    help="Ask the control plane for tasks, so that it need not reach this agent; by default, an agent that has "
    "enrolled does so if the control plane is on another machine and no address is given",
)
@click.option(
    "--relay/--no-relay",
    default=False,
    help="Relay updates in trainings with the topology relay: this agent then sees updates of other clients, and other "
    "agents see its own",
)
@click.option("--advertise-url", help="URL under which the control plane reaches the agent")
@click.option(
    "--label-privacy",
    type=float,
    metavar="EPS",
    help="Add noise with this epsilon to the label counts that are reported",
)
@click.option(
    "--state",
    "--state-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory that keeps the client's keys, the local tensors of trainings and the noise on label counts "
    "for the next start; for clients that enrol, ~/.local/state/tcsfeel by default",
)
def agent(
    trainer: str,
    *,
    client_id: str,
    server: str,
    key: str | None,
    invite: str | None,
    invite_file: Path | None,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    pull: bool | None,
    relay: bool,
    advertise_url: str | None,
    label_privacy: float | None,
    state: Path | None,
) -> None:
    """Serve a trainer beside its data.

    TRAINER is the `package.module:attribute` of a trainer. The agent registers, sends heartbeats, and trains when it is
    asked, until Ctrl-C.
    """
    from tcsfeel import logs  # noqa: PLC0415  (help does not need what an agent needs)
    from tcsfeel.agent import AgentError, has_enrolled, load_trainer, serve  # noqa: PLC0415  (as above)

    try:
        logs.configure()
        if _is_given("invite", "invite_file") and not _is_given("key"):
            key = None  # that of the environment may be for other commands
        invite = read_invite(invite_file) if invite_file else invite
        own = key is None and (invite is not None or has_enrolled(client_id, state))
        serve(
            load_trainer(trainer),
            client_id=client_id,
            server_url=server,
            api_key=None if own else find_key(key, NO_KEY),
            invite=invite,
            host=host,
            port=port,
            advertise_url=advertise_url,
            label_privacy=label_privacy,
            state=state,
            ca_file=ca_file(),
            tls_cert=tls_cert,
            tls_key=tls_key,
            pull=pull,
            relay=relay,
        )
    except (AgentError, ValueError) as error:
        fail(str(error))


def _is_given(*parameters: str) -> bool:
    """Tell whether the command line, and not the environment, sets one of these parameters."""
    context = click.get_current_context()
    return any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in parameters)


def read_invite(file: Path) -> str:
    """Read the secret of an invitation from a file."""
    try:
        return read_key(file)
    except OSError as error:
        fail(f"the invitation cannot be read from {file}: {error.strerror}")
