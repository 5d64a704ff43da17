"""The ``tcsfeel`` command. Every command ends with a non-zero status and one line of reason when it fails."""

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import typer
import uvicorn
from rich.console import Console
from rich.table import Table

from app import __version__, logs
from app import demo as demonstration
from app.agent import AgentError, load_trainer
from app.agent import serve as serve_agent
from app.main import create_app
from app.services.keys import AdminKey, key_path
from app.services.system import System
from app.settings import Settings, WrongSetting
from app.store import migrations

cli = typer.Typer(
    name="tcsfeel", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)

Server = Annotated[str, typer.Option(envvar="TCSFEEL_SERVER", help="Base URL of the control plane")]
Key = Annotated[
    str | None,
    typer.Option(
        envvar="TCSFEEL_AUTH__ADMIN_KEY",
        help="The admin key; by default the one in the data directory",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]
DEFAULT_SERVER = "http://127.0.0.1:8080"
ENDED = {"completed", "failed", "cancelled"}


def fail(reason: str) -> NoReturn:
    typer.echo(f"tcsfeel: {reason}", err=True)
    raise typer.Exit(1)


@cli.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    """A control plane for federated learning over networks whose links are not equal."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@cli.command(epilog="Example: tcsfeel serve --port 8080")
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1]", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [8080]", show_default=False)] = None,
) -> None:
    """Start the control plane, on an embedded SQLite file unless TCSFEEL_DATABASE__URL says otherwise."""
    settings = _settings(host=host, port=port)
    logs.configure(settings.log)
    app = create_app(settings)
    key: AdminKey = app.state.system.admin_key
    if settings.auth.enabled and key.made:
        typer.echo(f"admin key (shown once, kept in {key_path(settings)}): {key.reveal()}", err=True)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.coordinator.drain_seconds) or 1,
    )
    server = _DrainingServer(config, app.state.system)
    server.run()
    if not server.started:
        raise typer.Exit(1)


@cli.command(epilog="Example: TCSFEEL_DATABASE__URL=postgresql+asyncpg://… tcsfeel migrate")
def migrate() -> None:
    """Bring the database up to date."""
    settings = _settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(migrations.upgrade(settings.database_url))
    except OSError as error:
        fail(f"the database does not answer: {error}")
    typer.echo("the database is up to date")


@cli.command(
    epilog="Example: tcsfeel agent examples.minimal_trainer:trainer --id edge-7 --server http://127.0.0.1:8080"
)
def agent(
    trainer: Annotated[str, typer.Argument(help="`package.module:attribute` of a trainer", metavar="TRAINER")],
    client_id: Annotated[str, typer.Option("--id", help="The client's id")],
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free one")] = 0,
    advertise_url: Annotated[str | None, typer.Option(help="How the control plane reaches the agent")] = None,
) -> None:
    """Serve a trainer beside its data: register it, send heartbeats, train when asked."""
    logs.configure(_settings().log)
    try:
        serve_agent(
            load_trainer(trainer),
            client_id=client_id,
            server_url=server,
            api_key=_key(key),
            host=host,
            port=port,
            advertise_url=advertise_url,
        )
    except (AgentError, ValueError) as error:
        fail(str(error))


@cli.command(epilog="Example: tcsfeel clients --json")
def clients(server: Server = DEFAULT_SERVER, key: Key = None, as_json: AsJson = False) -> None:
    """List the registered clients."""
    with _api(server, key) as api:
        items = _all(api, "/v1/clients")
    if as_json:
        typer.echo(json.dumps(items, indent=2))
        return
    table = Table("client", "status", "breaker", "samples", "Mbps", "ms", "reliability", "rounds", box=None)
    for item in items:
        claimed, measured = item, item["measured"]
        reliability = claimed["reliability"] if measured["reliability"] is None else measured["reliability"]
        table.add_row(
            item["id"],
            item["status"],
            item["breaker"],
            str(item["data_size"]),
            f"{item['bandwidth']:g}",
            f"{item['latency']:g}",
            f"{reliability:.2f}",
            f"{item['rounds_completed']}/{item['rounds_selected']}",
        )
    Console().print(table)


@cli.command(epilog="Example: tcsfeel train --name digits --min-clients 2 --max-clients 10 --watch")
def train(
    name: Annotated[str, typer.Option(help="The training's name")],
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    body: Annotated[Path | None, typer.Option(help="A JSON file with the rest of the training's body")] = None,
    strategy: Annotated[str | None, typer.Option(help="Selection strategy")] = None,
    min_clients: Annotated[int | None, typer.Option(help="The fewest clients of a round")] = None,
    max_clients: Annotated[int | None, typer.Option(help="The most clients of a round")] = None,
    target_accuracy: Annotated[float | None, typer.Option(help="Accuracy at which it is done")] = None,
    max_rounds: Annotated[int | None, typer.Option(help="The most rounds")] = None,
    watch: Annotated[bool, typer.Option(help="Follow it until it ends")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a training and start it."""
    request = _read_body(body) | {"name": name}
    rules = {"strategy": strategy, "min_clients": min_clients, "max_clients": max_clients}
    selection = request.get("selection", {}) | {field: value for field, value in rules.items() if value is not None}
    limits = {"target_accuracy": target_accuracy, "max_rounds": max_rounds}
    request |= {field: value for field, value in limits.items() if value is not None} | {"selection": selection}
    with _api(server, key) as api:
        training = _call(api, "POST", "/v1/trainings", json=request)
        training = _call(api, "POST", f"/v1/trainings/{training['id']}/start")
        if watch:
            _follow(api, training["id"], as_json)
        else:
            typer.echo(json.dumps(training, indent=2) if as_json else training["id"])


@cli.command(epilog="Example: tcsfeel watch 3f0c2a9d5b7e4c11")
def watch(
    training_id: Annotated[str, typer.Argument(help="The training's id", metavar="ID")],
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Follow a training until it ends; exits with 1 unless it completed."""
    with _api(server, key) as api:
        _follow(api, training_id, as_json)


@cli.command(epilog="Example: tcsfeel demo --strategy random")
def demo(
    strategy: Annotated[str, typer.Option(help="Selection strategy to train with")] = "tcs-feel",
    agents: Annotated[int, typer.Option(min=10, max=200, help="How many agents")] = 50,
    keep: Annotated[bool, typer.Option(help="Leave everything running to look at, until Ctrl-C")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the data's split, the network and the training")] = 1,
    target: Annotated[float, typer.Option(min=0, max=1, help="Accuracy at which it is done")] = demonstration.TARGET,
) -> None:
    """Train to 96.3 % from nothing: control plane, agents, real data, over real HTTP on this machine."""
    try:
        demonstration.run(strategy=strategy, agents=agents, keep=keep, seed=seed, target_accuracy=target)
    except demonstration.DemoFailed as error:
        fail(str(error))


class _DrainingServer(uvicorn.Server):
    """Gives its trainings away as soon as it is told to stop, before it waits for open connections."""

    def __init__(self, config: uvicorn.Config, system: System) -> None:
        super().__init__(config)
        self._system = system

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._system.coordinator.stop()
        await super().shutdown(sockets)


def _settings(**overrides: Any) -> Settings:
    try:
        return Settings.load(**{name: value for name, value in overrides.items() if value is not None})
    except WrongSetting as error:
        fail(str(error))


def _key(given: str | None) -> str:
    if given:
        return given
    path = key_path(_settings())
    try:
        return path.read_text().strip()
    except OSError:
        fail(f"there is no admin key: give --key, or run where {path} is")


def _api(server: str, key: str | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {_key(key)}"}
    return httpx.Client(base_url=server, headers=headers, timeout=30.0, trust_env=False)


def _call(api: httpx.Client, method: str, path: str, **kwargs: Any) -> Any:
    try:
        response = api.request(method, path, **kwargs)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fail(f"{api.base_url} does not answer: {error}")
    if response.is_success:
        return response.json()
    try:
        reason = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        reason = response.reason_phrase
    fail(f"{response.status_code}: {reason}")


def _all(api: httpx.Client, path: str) -> list[Any]:
    items: list[Any] = []
    cursor: str | None = None
    while True:
        page = _call(api, "GET", path, params={"limit": 1000} | ({"cursor": cursor} if cursor else {}))
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


def _read_body(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read: {error}")
    if not isinstance(body, dict):
        fail(f"{path} must hold a JSON object")
    return body


def _follow(api: httpx.Client, training_id: str, as_json: bool) -> None:
    """Print each round once as it ends, then how the training ended."""
    shown = 0
    while True:
        training = _call(api, "GET", f"/v1/trainings/{training_id}")
        for item in reversed(_call(api, "GET", f"/v1/trainings/{training_id}/rounds")["items"]):
            if item["number"] > shown and item["ended_at"] is not None:
                shown = item["number"]
                typer.echo(json.dumps(item) if as_json else _line(item))
        if training["status"] in ENDED:
            break
        time.sleep(0.5)
    typer.echo(json.dumps(training) if as_json else f"{training['status']}: {training['stop_reason']}")
    if training["status"] != "completed":
        raise typer.Exit(1)


def _line(item: dict[str, Any]) -> str:
    accuracy = "-" if item["average_accuracy"] is None else f"{item['average_accuracy']:.4f}"
    cost = "-" if item["communication_cost"] is None else f"{item['communication_cost']:.2f} s"
    reason = "" if item["failure_reason"] is None else f"  {item['failure_reason']}"
    selected = len(item["selected_clients"])
    return f"round {item['number']:3}  {item['status']}  accuracy {accuracy}  cost {cost}  clients {selected}{reason}"


def main() -> None:
    """The entry point."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  (so that `module:trainer` of the current directory is found)
    cli()
