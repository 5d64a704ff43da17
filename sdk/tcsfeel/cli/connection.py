"""How commands reach a control plane: where it is, with which key, and one line of reason when it refuses."""

import os
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self

import httpx
import typer

from tcsfeel.keys import key_path, read_key

DEFAULT_SERVER = "http://127.0.0.1:8080"
PAGE = 1000

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
        headers = {"Authorization": f"Bearer {find_key(key)}"}
        self._server = server
        self._http = httpx.Client(base_url=server, headers=headers, timeout=30.0, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """The body of a success."""
        try:
            response = self._http.request(method, path, **kwargs)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            fail(f"{self._server} does not answer: {error}")
        if response.is_success:
            return response.json()
        try:
            reason = response.json()["detail"]
        except (ValueError, KeyError, TypeError):
            reason = response.reason_phrase
        fail(f"{response.status_code}: {reason}")

    def all(self, path: str) -> list[Any]:
        """Every item of a list, page by page."""
        items: list[Any] = []
        params: dict[str, Any] = {"limit": PAGE}
        while True:
            page = self.call("GET", path, params=params)
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            params["cursor"] = page["next_cursor"]
