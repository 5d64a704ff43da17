"""Options that several commands have, and the search for the key if no option gives it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tcsfeel.cli.ending import fail
from tcsfeel.keys import key_path, read_key

if TYPE_CHECKING:
    from tcsfeel.cli.connection import Connection

_CA_FILE = "tcsfeel.ca_file"


def _remember(context: click.Context, _option: click.Parameter, value: Path | None) -> None:
    context.meta[_CA_FILE] = value


def server_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which control plane to call, and with which authorities to check its certificate."""
    server = click.option(
        "--server",
        default="http://127.0.0.1:8080",
        envvar="TCSFEEL_SERVER",
        show_envvar=True,
        help="Base URL of the control plane",
    )
    ca_file = click.option(
        "--ca-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        envvar="TCSFEEL_CA_FILE",
        show_envvar=True,
        expose_value=False,
        callback=_remember,
        help="Authorities (PEM) to trust in place of those of the system",
    )
    return server(ca_file(command))


def ca_file() -> Path | None:
    """Return the value of ``--ca-file`` of the command that runs."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_CA_FILE)


key_option = click.option(
    "--key",
    envvar=["TCSFEEL_KEY", "TCSFEEL_AUTH__ADMIN_KEY"],
    show_envvar=True,
    help="An API key; by default the admin key in the data directory",
)
goal_option = click.option(
    "--require-goal", is_flag=True, help="Exit with status 3 if it completes without reaching its target"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON")


def connect(server: str, key: str | None) -> "Connection":
    """Connect a command to the control plane of its options. The module of connections is slow to import."""
    from tcsfeel.cli.connection import Connection  # noqa: PLC0415  (help does not need httpx2)

    return Connection(server, key)


def find_key(given: str | None, advice: str = "give --key or set TCSFEEL_KEY") -> str:
    """Return the given key, or the key that a control plane on this machine stores. If there is none, give `advice`."""
    if given:
        return given
    path = key_path(Path(os.environ.get("TCSFEEL_DATA_DIR") or ".tcsfeel"))
    try:
        return read_key(path)
    except OSError:
        fail(
            f"there is no API key: {advice}; on the server's machine, set "
            f"TCSFEEL_DATA_DIR to the server's data directory (the file {path} cannot be read)"
        )
