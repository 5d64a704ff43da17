"""A server with three agents, for commands that talk to one."""

from typing import Any

from click.testing import CliRunner

from tcsfeel.cli import cli
from tests.e2e.servers import Server

runner = CliRunner()


class Federation:
    """A server with three agents, for commands that talk to one."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def run(self, *arguments: str) -> Any:
        return runner.invoke(cli, [*arguments, "--server", self.server.url, "--key", self.server.key])
