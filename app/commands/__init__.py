"""Add the commands of the server to ``tcsfeel``: the control plane, the migration of its database, and the demo.

`tcsfeel.cli` finds them by the entry points of the group ``tcsfeel.commands``, and imports this module for its help
page. So each command imports what it needs when it runs.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tcsfeel.cli.completion import client_ids, training_ids
from tcsfeel.cli.ending import fail
from tcsfeel.cli.options import key_option, server_option

if TYPE_CHECKING:
    from app.settings import Settings

TARGET = 0.963


def load_settings(**overrides: Any) -> "Settings":
    """Read the settings from the environment, with overrides that are not None. Ends the command if one is wrong."""
    from app.settings import Settings, WrongSetting  # noqa: PLC0415  (help should be quick)

    try:
        return Settings.load(**{name: value for name, value in overrides.items() if value is not None})
    except WrongSetting as error:
        fail(str(error))


@click.command(epilog="Example: tcsfeel serve --port 8080")
@click.option("--host", help="Address to listen on [127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on [8080]")
@click.option("--grpc-port", type=int, help="Port for gRPC; without it, the server does not speak gRPC")
@click.option("--tls-cert", "cert_file", metavar="FILE", help="Certificate of the server (PEM), to serve HTTPS")
@click.option("--tls-key", "key_file", metavar="FILE", help="Private key of the certificate (PEM)")
def serve(
    *, host: str | None, port: int | None, grpc_port: int | None, cert_file: str | None, key_file: str | None
) -> None:
    """Start the control plane.

    It stores its data in an SQLite file, unless TCSFEEL_DATABASE__URL names another database.
    """
    from app import logs  # noqa: PLC0415  (help and the other commands should be quick)
    from app.commands import serving  # noqa: PLC0415  (help and the other commands should be quick)
    from app.rpc import CannotListen  # noqa: PLC0415  (help should be quick)
    from app.settings import WrongSetting  # noqa: PLC0415  (help should be quick)
    from tcsfeel.errors import UnusableStrategy  # noqa: PLC0415  (help should be quick)

    tls = {name: file for name, file in (("cert_file", cert_file), ("key_file", key_file)) if file is not None}
    grpc = None if grpc_port is None else {"port": grpc_port}
    settings = load_settings(host=host, port=port, grpc=grpc, tls=tls or None)
    logs.configure(settings.log)
    try:
        server = serving.prepared(settings)
    except (WrongSetting, UnusableStrategy, OSError) as error:
        fail(str(error))
    try:
        with contextlib.suppress(SystemExit):  # uvicorn exits with its own status after it has told the reason
            server.run()
    except CannotListen as error:
        fail(str(error))
    if not server.started:
        raise click.exceptions.Exit(1)


@click.command(epilog="Example: TCSFEEL_DATABASE__URL=postgresql+asyncpg://… tcsfeel migrate")
def migrate() -> None:
    """Bring the database up to date."""
    from app.services.running import starting  # noqa: PLC0415  (help should be quick)
    from app.settings import WrongSetting  # noqa: PLC0415  (help should be quick)

    settings = load_settings()
    try:
        asyncio.run(starting.migrate(settings))
    except WrongSetting as error:
        fail(str(error))
    click.echo("the database is up to date")


@click.group(epilog="Example: tcsfeel secrets rotate")
def secrets() -> None:
    """Look after the secrets in the database."""


@secrets.command(epilog="Example: tcsfeel secrets rotate")
def rotate() -> None:
    """Encrypt the tokens of clients and the secrets of webhooks again, with the newest of TCSFEEL_AUTH__SECRET_KEYS.

    Servers may run meanwhile. Afterwards, older keys can be removed from the setting.
    """
    from app.commands.rotation import renew_tokens  # noqa: PLC0415  (help should be quick)
    from app.settings import WrongSetting  # noqa: PLC0415  (help should be quick)
    from app.store.availability import DatabaseUnavailable  # noqa: PLC0415  (help should be quick)

    settings = load_settings()
    try:
        renewal = asyncio.run(renew_tokens(settings))
    except (WrongSetting, DatabaseUnavailable) as error:
        fail(str(error))
    if renewal.locked or renewal.locked_webhooks:
        fail(str(renewal))
    click.echo(str(renewal))


@click.command(epilog="Example: tcsfeel backup /backups/2026-11-30")
@click.argument("directory", type=click.Path(path_type=Path))
def backup(*, directory: Path) -> None:
    """Copy the database and the models into a new DIRECTORY. Servers may run meanwhile.

    The admin key and TCSFEEL_AUTH__SECRET_KEYS are not in it: keep them elsewhere, since nobody can call without them.
    """
    from app.commands import backups  # noqa: PLC0415  (help should be quick)

    click.echo(f"backed up {backups.run(backups.make, load_settings(), directory)}")


@click.command(epilog="Example: tcsfeel restore /backups/2026-11-30")
@click.argument("directory", type=click.Path(path_type=Path))
def restore(*, directory: Path) -> None:
    """Bring the backup in DIRECTORY into an empty database and the store of models, after it was verified.

    It may come from SQLite and go to Postgres, or the other way round. No server may run meanwhile.
    """
    from app.commands import backups  # noqa: PLC0415  (help should be quick)

    click.echo(f"restored {backups.run(backups.bring_back, load_settings(), directory)}")


@click.command(epilog="Example: tcsfeel verify /backups/2026-11-30")
@click.argument("directory", type=click.Path(path_type=Path))
def verify(*, directory: Path) -> None:
    """Check that the backup in DIRECTORY is complete and unchanged: every hash, and every file that a row names."""
    from app.commands import backups  # noqa: PLC0415  (help should be quick)

    click.echo(f"the backup is complete: {backups.verified(directory)}")


@click.command(epilog="Example: tcsfeel track --mlflow http://127.0.0.1:5000")
@server_option
@key_option
@click.option(
    "--mlflow", metavar="URL", envvar="MLFLOW_TRACKING_URI", show_envvar=True, help="The base URL of an MLflow server"
)
@click.option("--experiment", metavar="NAME", default="tcsfeel", help="The experiment of MLflow to write into")
@click.option("--tensorboard", metavar="DIRECTORY", type=click.Path(path_type=Path), help="Where TensorBoard reads")
@click.option("--wandb", metavar="PROJECT", help="The project of Weights & Biases")
@click.option("--training", "trainings", metavar="ID", multiple=True, help="Only this training; may be repeated")
@click.option("--clients", type=click.IntRange(0), default=200, help="Largest round whose clients have own figures")
@click.option("--once", is_flag=True, help="Write what there is, and end")
def track(*, server: str, key: str | None, trainings: tuple[str, ...], once: bool, **targets: Any) -> None:
    """Copy trainings to experiment trackers, and go on as their rounds end, until Ctrl-C.

    If it is started again, it goes on where it stopped, and writes nothing twice. MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, are sent to an MLflow server that asks who calls.
    """
    from app.commands import tracking  # noqa: PLC0415  (help should be quick)

    tracking.run(server, key, tracking.Targets(**targets), trainings=trainings, once=once)


@click.command(epilog="Example: tcsfeel logs 3f0c2a9d5b7e4c11 --client edge-7")
@click.argument("training_id", metavar="TRAINING", shell_complete=training_ids)
@server_option
@key_option
@click.option("--client", "only", metavar="ID", shell_complete=client_ids, help="Only this client")
@click.option("--rounds", type=click.IntRange(1, 1000), default=10, help="How many of the newest rounds")
def logs(*, server: str, key: str | None, training_id: str, only: str | None, rounds: int) -> None:
    """Print why clients failed in the newest rounds of a training, with the last lines of their tracebacks.

    It needs a key with the role operator: reasons and tracebacks are hidden from keys with the role viewer.
    """
    from app.commands import failures  # noqa: PLC0415  (help should be quick)

    failures.run(server, key, training_id, only=only, rounds=rounds, tell=click.echo)


@click.command(epilog="Example: tcsfeel demo --strategy random")
@click.option("--strategy", default="tcs-feel", help="Selection strategy to train with")
@click.option("--agents", type=click.IntRange(10, 200), default=50, help="How many agents")
@click.option("--keep", is_flag=True, help="Leave everything running to look at, until Ctrl-C")
@click.option("--seed", type=click.IntRange(0), default=1, help="Of the data's split, the network and the training")
@click.option("--target", type=click.FloatRange(0, 1), default=TARGET, help="Accuracy at which it is done")
@click.option(
    "--transport",
    type=click.Choice(["push", "pull"]),
    default="push",
    help="Whether the control plane calls the agents (push), or they ask it for their tasks (pull)",
)
@click.option(
    "--topology",
    type=click.Choice(["star", "relay"]),
    default="star",
    help="relay: agents send their updates to other agents over cheap links, which average them",
)
@click.option(
    "--links",
    type=click.Choice(["modelled", "shaped"]),
    default="modelled",
    help="shaped: bytes pass through proxies at the speeds of the links, instead of answers being held back",
)
@click.option("--slower", type=click.FloatRange(1, 1000), default=1.0, help="How many times slower all links are")
def demo(*, agents: int, target: float, **options: Any) -> None:
    """Run the whole system once, until a training reaches 96.3 %.

    It starts a control plane and agents with real data, which use real HTTP on this machine.
    """
    from app import demo as demonstration  # noqa: PLC0415  (help should be quick)

    try:
        demonstration.run(agents=agents, target_accuracy=target, **options)
    except demonstration.DemoFailed as error:
        fail(str(error))
