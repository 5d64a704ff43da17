"""Commands of other packages that cannot be used."""

from importlib.metadata import EntryPoint

import pytest
from click.testing import CliRunner

from tcsfeel.cli import GROUP, Commands


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_module:command", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("json:no_such_name", "AttributeError: module 'json' has no attribute 'no_such_name'"),
        ("json:dumps", "json:dumps is no click.Command"),
        ("tests.tcsfeel.cli.leaving:command", "SystemExit: 3"),
    ],
)
def test_a_command_that_cannot_be_used_is_named_and_the_others_work(value: str, reason: str) -> None:
    group = Commands([EntryPoint("convert", value, GROUP)])
    listed = CliRunner().invoke(group, ["--help"])
    assert listed.exit_code == 0
    assert "watch" in listed.output
    assert "convert" in listed.output
    done = CliRunner().invoke(group, ["convert", "--option", "more"])
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("tcsfeel: `tcsfeel convert`: the command of the package ")
    assert line.endswith(f"cannot be used: {reason}")
