"""``tcsfeel keys``: the text of a key is printed once, and nothing else is on standard output."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tcsfeel.cli import cli
from tests.e2e.servers import Server
from tests.tcsfeel.client.servers import answer, scripted

runner = CliRunner()
TEXT = re.compile(r"tcsfeel_(?P<role>\w+)_(?P<id>[0-9a-f]{12})_[0-9a-f]{48}\n")


def run(server: Server, *arguments: str) -> Any:
    return runner.invoke(cli, ["keys", *arguments, "--server", server.url, "--key", server.key])


@pytest.fixture
def server(tmp_path: Path, sqlite_url: str) -> Iterator[Server]:
    started = Server(tmp_path, sqlite_url)
    asyncio.run(started.start())
    try:
        yield started
    finally:
        started.kill()


def test_a_key_from_its_making_to_its_end(server: Server) -> None:
    made = run(server, "create", "--role", "operator", "--name", "ci", "--expires", "90d")
    first = TEXT.fullmatch(made.stdout)
    assert first is not None
    assert first["role"] == "operator"
    assert re.fullmatch(rf"The key {first['id']} is valid until \S+Z\. It is shown only now:\n", made.stderr)
    clients = runner.invoke(cli, ["clients", "--server", server.url], env={"TCSFEEL_KEY": made.stdout.strip()})
    assert clients.exit_code == 0, clients.output

    rotated = run(server, "rotate", first["id"], "--grace", "1h")
    second = TEXT.fullmatch(rotated.stdout)
    assert second is not None
    agent = json.loads(run(server, "create", "--role", "agent", "--name", "d", "--client", "edge-7", "--json").stdout)
    assert agent["key"].startswith(f"tcsfeel_agent_{agent['id']}_")
    assert run(server, "revoke", first["id"]).output == ""

    listed = run(server, "list").stdout
    assert first["id"] not in listed
    assert re.search(rf"^{second['id']}  ci +operator  - +valid  \S+Z  \S+Z  -$", listed, re.MULTILINE), listed
    assert re.search(rf"^{agent['id']}  d +agent +edge-7  valid  \S+Z  - +-$", listed, re.MULTILINE), listed
    every = json.loads(run(server, "list", "--all", "--json").stdout)
    assert [key["state"] for key in every] == ["valid", "valid", "revoked"]
    for text in (made.stdout, rotated.stdout, agent["key"]):
        assert text.strip().rpartition("_")[2] not in listed + json.dumps(every)

    gone = run(server, "rotate", first["id"])
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert gone.stderr == "tcsfeel: 409: cannot rotate a key that is revoked\n"


@pytest.mark.parametrize("time", ["90", "d", "1.5d", "-1d", "1w", "1D", "9999999999s", "\u0661d"])
def test_a_time_is_a_number_and_a_unit(time: str) -> None:
    for arguments in (["create", "--role", "viewer", "--name", "x"], ["rotate", "x"]):
        result = runner.invoke(cli, ["keys", *arguments, "--expires", time, "--server", "http://127.0.0.1:9"])
        assert result.exit_code == 1
        assert result.stderr.startswith("tcsfeel: --expires should be a whole number and a unit, such as 30s")


def test_what_a_server_sends_steers_no_terminal() -> None:
    key = {"id": "a", "name": "\x1b[31m", "role": "viewer", "state": "valid", "created_at": "\n2026Z"}
    page = json.dumps({"items": [key], "next_cursor": None}).encode()
    with scripted(answer(200, page)) as server:
        listed = runner.invoke(cli, ["keys", "list", "--server", server.url, "--key", "k"])
    assert listed.exit_code == 0
    assert "\x1b" not in listed.stdout
    assert listed.stdout.count("\n") == 2


@pytest.mark.parametrize("command", ["create", "list", "rotate", "revoke"])
def test_each_command_has_help_with_an_example(command: str) -> None:
    result = runner.invoke(cli, ["keys", command, "--help"])
    assert result.exit_code == 0
    assert f"Example: tcsfeel keys {command}" in " ".join(result.output.split())
