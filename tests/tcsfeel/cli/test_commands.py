"""The ``tcsfeel`` command as its users type it: what it prints, and its exit status."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app import __version__
from app.commands import migrate
from tcsfeel.cli import GROUP, SERVER, Commands, cli, fleet
from tests.e2e.servers import PATIENCE, started
from tests.tcsfeel.cli.federation import Federation


def _leaves(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Name each command that does something, with the groups that it is in."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _leaves(command, *path, name)
        else:
            yield (*path, name)


COMMANDS = list(_leaves(cli))
runner = CliRunner()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    result = runner.invoke(cli, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example: " in result.output
    assert f"tcsfeel {' '.join(command)}" in " ".join(result.output.split())


def test_the_version() -> None:
    result = runner.invoke(cli, ["--version"])
    assert (result.exit_code, result.output) == (0, f"{__version__}\n")


@pytest.mark.parametrize("command", SERVER)
def test_without_the_server_its_commands_say_what_to_install(command: str) -> None:
    alone = Commands(added=())
    assert runner.invoke(alone, ["--help"]).output.count("Needs the package tcsfeel-server.") == len(SERVER)
    result = runner.invoke(alone, [command, "--port", "8080", "more"])
    needed = f"tcsfeel: `tcsfeel {command}` is part of the package tcsfeel-server: pip install tcsfeel-server\n"
    assert (result.exit_code, result.output) == (1, needed)


def test_a_package_adds_a_command_but_replaces_none_of_the_library() -> None:
    added = [EntryPoint(name, "app.commands:migrate", GROUP) for name in ("convert", "clients")]
    group = Commands(added)
    context = click.Context(group)
    own = list(Commands(added=()).commands)
    assert {"agent", "train", "watch", "clients"} <= set(own)
    assert group.list_commands(context) == [*SERVER, "convert", *own]
    assert group.get_command(context, "convert") is migrate
    assert group.get_command(context, "clients") is fleet.clients
    assert group.get_command(context, "none") is None


def test_a_command_that_is_interrupted_ends_as_shells_expect_and_says_nothing() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    group = Commands(added=())
    group.add_command(click.Command("wait", callback=interrupt))
    result = runner.invoke(group, ["wait"])
    assert (result.exit_code, result.output) == (130, "")


HEAVY = {"numpy", "pydantic", "httpx2", "starlette", "uvicorn", "fastapi", "sqlalchemy", "rich", "typer"}


def test_help_imports_nothing_that_takes_long() -> None:
    every: list[tuple[str, ...]] = [(), *COMMANDS]
    code = (
        "import sys; from tcsfeel.cli import cli\n"
        f"for command in {every}: cli([*command, '--help'], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  (our own)
    imported = set(done.stderr.split())
    assert "click" in imported
    assert imported & HEAVY == set()


def test_a_training_is_started_and_watched_to_its_end(federation: Federation, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"selection": {"strategy": "random"}, "hyperparameters": {"learning_rate": 0.5}}))
    options = [
        "--name",
        "x",
        "--body",
        str(body),
        "--min-clients",
        "2",
        "--max-clients",
        "3",
        "--target-accuracy",
        "0.8",
        "--strategy",
        "oort",
        "--parameter",
        "preferred_percentile=60",
    ]
    result = federation.run("train", *options, "--watch")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("round   1  completed  accuracy 0.")
    assert lines[-1].startswith("completed: target_accuracy: round ")


def test_groups_of_tensors_come_from_options_and_from_the_body(federation: Federation, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"parameters": {"local": ["of the body"], "averaged": ["*.ema"]}}))
    groups = ["--local", "bn*", "--local", "head.*", "--frozen", "embedding"]
    started = json.loads(federation.run("train", "--name", "x", "--body", str(body), *groups, "--json").output)
    assert started["parameters"] == {"averaged": ["*.ema"], "local": ["bn*", "head.*"], "frozen": ["embedding"]}
    refused = federation.run("train", "--name", "x", "--frozen", "*")
    assert refused.exit_code == 1
    assert "should not match every tensor" in refused.output


def test_a_recipe_is_chosen_by_an_option(federation: Federation) -> None:
    options = ["--name", "x", "--recipe", "fedavg", "--min-clients", "1", "--max-clients", "1"]
    started = json.loads(federation.run("train", *options, "--json").output)
    assert (started["recipe"], started["selection"]["strategy"]) == ("fedavg", "random")
    refused = federation.run("train", "--name", "x", "--recipe", "tcs-feel-ring")
    assert refused.exit_code == 1
    assert "/recipe should be" in refused.output


def test_how_often_a_client_is_selected_is_limited_by_an_option(federation: Federation) -> None:
    rules = ["--min-clients", "1", "--max-clients", "1", "--largest-multiple", "1.5"]
    started = json.loads(federation.run("train", "--name", "x", *rules, "--json").output)
    assert started["selection"]["largest_multiple"] == 1.5
    refused = federation.run("train", "--name", "x", "--largest-multiple", "0.5")
    assert refused.exit_code == 1
    assert "/selection/largest_multiple should be greater than or equal to 1" in refused.output


def test_watching_a_training_that_fails_exits_with_one(federation: Federation, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"round_policy": {"max_failed_rounds": 1, "max_wait_seconds": 0}}))
    options = ["--name", "x", "--body", str(body), "--min-clients", "9", "--max-clients", "9"]
    started = federation.run("train", *options)
    result = federation.run("watch", started.output.strip(), "--json")
    assert result.exit_code == 1
    printed = [json.loads(line) for line in result.output.splitlines()]
    assert printed[0]["failure_reason"].startswith("3 of 3 clients can be selected")
    assert (printed[-1]["status"], printed[-1]["stop_reason"]) == ("failed", "too_many_failed_rounds")


def test_watching_a_training_without_a_completed_round_exits_with_one(federation: Federation, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"round_policy": {"max_wait_seconds": 0}}))
    options = ["--name", "x", "--body", str(body), "--min-clients", "9", "--max-clients", "9", "--max-rounds", "1"]
    result = federation.run("train", *options, "--watch")
    assert result.exit_code == 1
    achieved = "failed: max_rounds: 0 of 1 rounds completed; the last was abandoned: as above"
    assert result.output.splitlines()[-1] == achieved
    assert result.output.count("3 of 3 clients can be selected") == 1


def test_refusals_are_one_line_with_the_reason(federation: Federation, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text("[1]")
    for arguments, reason in [
        (["watch", "no-such-training"], "404: there is no training 'no-such-training'"),
        (["train", "--name", "x", "--target-accuracy", "7"], "422: /target_accuracy should be less than or equal to 1"),
        (
            ["train", "--name", "x", "--strategy", "fedcs", "--parameter", "pool_factor=2", "--parameter", "speed=1"],
            "422: /selection/parameters/speed is no parameter of the strategy, whose parameters are pool_factor, ",
        ),
        (["train", "--name", "x", "--parameter", "factor"], "--parameter factor should be a name, = and a number"),
        (["train", "--name", "x", "--parameter", "factor=nan"], "--parameter factor=nan should be a name, = and a"),
        (["train", "--name", "x", "--body", str(body)], f"{body} must hold a JSON object"),
        (["train", "--name", "x", "--body", str(tmp_path / "none")], "cannot be read"),
    ]:
        result = federation.run(*arguments)
        assert result.exit_code == 1
        assert reason in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_wrong_key_and_a_server_that_is_not_there() -> None:
    result = runner.invoke(cli, ["clients", "--server", "http://127.0.0.1:9", "--key", "x"])
    assert result.exit_code == 1
    assert result.stderr.startswith("tcsfeel: http://127.0.0.1:9 does not answer")


def test_without_a_key_the_reason_says_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCSFEEL_DATA_DIR", str(tmp_path))
    result = runner.invoke(cli, ["clients"])
    assert result.exit_code == 1
    assert str(tmp_path / "admin-key") in result.stderr
    assert "give --key or set TCSFEEL_KEY; on the server's machine, set TCSFEEL_DATA_DIR" in result.stderr


@pytest.mark.parametrize("command", [["serve"], ["migrate"]])
def test_a_wrong_variable_stops_a_command(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCSFEEL_COORDINATOR__LEASE_SECONDS", "never")
    result = runner.invoke(cli, command)
    assert result.exit_code == 1
    assert "TCSFEEL_COORDINATOR__LEASE_SECONDS" in result.stderr


def served(directory: Path, port: int, **environment: str) -> tuple[int | None, list[str]]:
    """Run `tcsfeel serve` in a process of its own until it ends by itself, and give its status and what it wrote."""
    log = directory / "served.log"
    process = started(log, environment, "serve", "--port", str(port))
    process.join(PATIENCE)
    return process.exitcode, log.read_text().splitlines()


def test_a_port_that_is_taken_stops_serve_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, lines = served(tmp_path, port, TCSFEEL_DATA_DIR=str(tmp_path), TCSFEEL_AUTH__ADMIN_KEY="k" * 32)
    assert status == 1
    (line,) = lines
    assert line.startswith(f"tcsfeel: cannot listen on 127.0.0.1 port {port}: Address already in use")
    assert line.endswith("Choose another with --host or --port")


def test_a_strategy_that_cannot_be_loaded_stops_serve_with_one_line(tmp_path: Path) -> None:
    metadata = tmp_path / "their_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tcsfeel.strategies]\ntheirs = no_such_package:thing\n")
    status, lines = served(tmp_path, 0, TCSFEEL_DATA_DIR=str(tmp_path / "data"), PYTHONPATH=str(tmp_path))
    assert status == 1
    (line,) = lines
    assert line.startswith("tcsfeel: the selection strategy 'theirs' of the package their-package cannot be used: ")


def test_migrate_makes_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCSFEEL_DATA_DIR", str(tmp_path / "new"))
    assert runner.invoke(cli, ["migrate"]).exit_code == 0
    assert (tmp_path / "new" / "tcsfeel.db").exists()


def test_a_trainer_that_is_not_there_is_named() -> None:
    command = [
        sys.executable,
        "-c",
        "from tcsfeel.cli import main; main()",
        "agent",
        "no.such:trainer",
        "--id",
        "a",
        "--key",
        "k",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603  (our own)
    assert result.returncode == 1
    assert "no.such" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("epsilon", ["0", "nan", "inf"])
def test_label_privacy_has_to_be_an_epsilon(epsilon: str) -> None:
    options = ["examples.minimal_trainer:trainer", "--id", "a", "--key", "k", "--label-privacy", epsilon]
    result = runner.invoke(cli, ["agent", *options])
    assert result.exit_code == 1
    assert "label_privacy must be an epsilon, a finite number above 0" in result.stderr


@pytest.mark.parametrize("module", ["app.commands", "benchmarks.beats", "tcsfeel.cli"])
def test_a_module_of_commands_can_be_the_first_to_be_imported(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)  # noqa: S603  (our own)
