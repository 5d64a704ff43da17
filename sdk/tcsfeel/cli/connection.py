"""How commands reach a control plane: where it is, with which key, and one line of reason when it refuses."""

import os
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self, TypeVar

import httpx
import typer

from tcsfeel.keys import key_path, read_key
from tcsfeel.rest.calls import all_items, call_json
from tcsfeel.rest.exchange import Patience, Steps
from tcsfeel.rest.problems import ApiError, NoAnswer, Refused
from tcsfeel.rest.transport import BlockingTransport, base_url, headers

DEFAULT_SERVER = "http://127.0.0.1:8080"
Result = TypeVar("Result")

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


def fail(reason: str) -> NoReturn:
    """End the command with 1 and a line on standard error."""
    typer.echo(f"tcsfeel: {reason}", err=True)
    raise typer.Exit(1)


def find_key(given: str | None) -> str:
    """Give the key to present: the one given, else the one that a control plane on this machine keeps."""
    if given:
        return given
    path = key_path(Path(os.environ.get("TCSFEEL_DATA_DIR") or ".tcsfeel"))
    try:
        return read_key(path)
    except OSError:
        fail(f"there is no admin key: give --key, or run where {path} is")


class Connection:
    """Calls of the REST API that end the command when they fail."""

    def __init__(self, server: str, key: str | None) -> None:
        self._server = server
        try:
            http = httpx.Client(base_url=base_url(server), headers=headers(find_key(key)), trust_env=False)
        except ValueError as error:
            fail(str(error))
        self._transport = BlockingTransport(http, Patience(attempts=3, deadline_seconds=30.0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.http.close()

    def call(self, method: str, path: str, *, json: object = None, key: str | None = None) -> Any:
        """The body of a success. `key` lets a POST be repeated."""
        return self._run(call_json(method, path, json, headers={"Idempotency-Key": key} if key else None))

    def all(self, path: str) -> list[Any]:
        """Every item of a list, page by page."""
        return self._run(all_items(path))

    def _run(self, steps: Steps[Result]) -> Result:
        try:
            return self._transport.run(steps)
        except Refused as error:
            fail(f"{error.status}: {error.detail}")
        except NoAnswer as error:
            fail(f"{self._server} does not answer: {error}")
        except ApiError as error:
            fail(str(error))
