"""Completion in shells: the commands, their choices, and the ids that the control plane knows."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import click
import pytest

from tcsfeel.cli import cli
from tcsfeel.cli.completion import training_ids
from tests.tcsfeel.cli.federation import Federation

BIN = Path(sys.executable).parent
ASK = {
    "bash": 'eval "$(_TCSFEEL_COMPLETE=bash_source tcsfeel)"; COMP_WORDS=({line}); COMP_CWORD={last};'
    ' _tcsfeel_completion tcsfeel; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": 'words=({line}); for kind name help in ${{(f)"$(COMP_WORDS="${{words[*]}}" COMP_CWORD={last}'
    ' _TCSFEEL_COMPLETE=zsh_complete tcsfeel)"}}; do print -r -- $name; done;'
    " _TCSFEEL_COMPLETE=zsh_source tcsfeel > completion; zsh -n completion",
    "fish": '_TCSFEEL_COMPLETE=fish_source tcsfeel | source; complete -C "{line}"',
}


def offered(shell: str, line: str, directory: Path, **environment: str) -> list[str]:
    """Return what a real shell offers for the last word of a line."""
    program = shutil.which(shell)
    assert program is not None
    script = ASK[shell].format(line=line, last=len(line.split()) - 1)
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603  (a shell with a script of ours)
        [program, "-c", script],
        env=os.environ | {"PATH": path, "HOME": str(directory)} | environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [found.split("\t")[0] for found in done.stdout.splitlines() if found]


def test_shells_complete_commands_choices_and_ids(federation: Federation, tmp_path: Path) -> None:
    """Of bash, which is everywhere, and of zsh and fish where they are installed."""
    here = {"TCSFEEL_SERVER": federation.server.url, "TCSFEEL_KEY": federation.server.key}
    training = federation.run("train", "--name", "to be completed", "--min-clients", "2").output.strip()
    clients = sorted(row.split()[0] for row in federation.run("clients").output.splitlines()[1:])
    for shell in filter(shutil.which, ASK):
        assert offered(shell, "tcsfeel wat", tmp_path) == ["watch"]
        assert offered(shell, f"tcsfeel breaker {clients[0]} o", tmp_path) == ["open"]
        assert sorted(offered(shell, f"tcsfeel client {clients[0][:4]}", tmp_path, **here)) == clients
        assert offered(shell, f"tcsfeel pause {training[:3]}", tmp_path, **here) == [training]
        assert offered(shell, "tcsfeel client nobody", tmp_path, **here) == []


@pytest.mark.parametrize("server", ["http://127.0.0.1:9", "not a URL"])
def test_nothing_is_offered_or_printed_if_the_control_plane_does_not_answer(server: str, tmp_path: Path) -> None:
    assert offered("bash", "tcsfeel watch 3", tmp_path, TCSFEEL_SERVER=server, TCSFEEL_KEY="any") == []


def test_ids_that_a_shell_would_run_are_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ["x;$(reboot)", "a b", "-x", "x\ndir,y", "\x1b[2J"]

    class Answers:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def each(self, _where: str) -> Iterator[dict[str, str]]:
            return iter([{"id": one, "name": one} for one in [*wrong, "edge-1", "_2.b"]])

    monkeypatch.setattr("tcsfeel.cli.connection.Connection", lambda *_: Answers())
    context = click.Context(cli.get_command(click.Context(cli), "pause") or cli)
    context.params = {"server": "http://127.0.0.1:9", "key": "any"}
    offered_ids = [one.value for one in training_ids(context, click.Argument(["id"]), "")]
    assert offered_ids == ["edge-1", "_2.b"]


def test_nothing_is_offered_or_printed_without_a_key(tmp_path: Path) -> None:
    assert offered("bash", "tcsfeel watch 3", tmp_path, TCSFEEL_DATA_DIR=str(tmp_path / "none")) == []
