"""Where the command `agent` takes its invitation and its key from."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tcsfeel.agent.keyring import Credentials, Keyring
from tcsfeel.cli import cli

TRAINER = "examples.minimal_trainer:trainer"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logging_as_before: None) -> Any:
    del logging_as_before
    for name in ("TCSFEEL_INVITE", "TCSFEEL_KEY", "TCSFEEL_AUTH__ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TCSFEEL_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def command(*arguments: str, **environment: str) -> tuple[int, str]:
        given = ["agent", TRAINER, "--id", "edge-7", "--server", "nowhere", *arguments]
        result = CliRunner().invoke(cli, given, env=environment)
        return result.exit_code, result.output

    return command


NO_SERVER = "tcsfeel: the control plane's URL must be like http://host:8080, not 'nowhere'\n"
NO_INVITATION = "should be a text that begins with tcsfeel_invitation_"


def test_without_an_invitation_a_stored_key_or_a_given_one_there_is_no_key(run: Any) -> None:
    status, output = run()
    assert status == 1
    assert "there is no API key: ask an operator for an invitation, and give its secret with --invite;" in output


def test_a_key_that_is_given_counts_before_an_invitation(run: Any) -> None:
    assert run("--key", "a-key-that-is-given", "--invite", "x") == (1, NO_SERVER)


@pytest.mark.parametrize("variable", ["TCSFEEL_KEY", "TCSFEEL_AUTH__ADMIN_KEY"])
def test_an_invitation_of_the_command_line_counts_before_a_key_of_the_environment(
    run: Any, tmp_path: Path, variable: str
) -> None:
    file = tmp_path / "invitation"
    file.write_text("not-an-invitation\n")
    key = {variable: "a-key-of-another-command"}
    here = ("--server", "http://127.0.0.1:1")
    for given in (("--invite", "not-an-invitation"), ("--invite-file", str(file))):
        status, output = run(*here, *given, **key)
        assert (status, NO_INVITATION in output) == (1, True)
    assert run("--key", "a-key-that-is-given", "--invite", "x", **key) == (1, NO_SERVER)
    assert run(**key, TCSFEEL_INVITE="x") == (1, NO_SERVER), "neither was given on the command line"


@pytest.mark.parametrize("way", ["option", "environment", "file"])
def test_an_invitation_comes_from_an_option_the_environment_or_a_file(run: Any, tmp_path: Path, way: str) -> None:
    file = tmp_path / "invitation"
    file.write_text("not-an-invitation\n")
    match way:
        case "option":
            status, output = run("--server", "http://127.0.0.1:1", "--invite", "not-an-invitation")
        case "environment":
            status, output = run("--server", "http://127.0.0.1:1", TCSFEEL_INVITE="not-an-invitation")
        case _:
            status, output = run("--server", "http://127.0.0.1:1", "--invite-file", str(file))
    assert status == 1
    assert NO_INVITATION in output
    assert "not-an-invitation" not in output


def test_a_file_that_cannot_be_read_is_named(run: Any, tmp_path: Path) -> None:
    status, output = run("--invite-file", str(tmp_path / "missing"))
    assert (status, output) == (
        1,
        f"tcsfeel: the invitation cannot be read from {tmp_path}/missing: No such file or directory\n",
    )


@pytest.mark.parametrize("option", ["--state", "--state-dir"])
def test_a_stored_key_takes_the_place_of_the_admin_key(run: Any, tmp_path: Path, option: str) -> None:
    Keyring(tmp_path / "kept").keep(Credentials("edge-7", "k" * 20, "0123456789abcdef", "K" * 43))
    assert run(option, str(tmp_path / "kept")) == (1, NO_SERVER)
    Keyring(tmp_path / "state" / "tcsfeel").keep(Credentials("edge-7", "k" * 20, "0123456789abcdef", "K" * 43))
    assert run() == (1, NO_SERVER)


def test_a_certificate_needs_its_key_and_both_files(run: Any, tmp_path: Path) -> None:
    given = ("--key", "a-key-that-is-given")
    together = "tcsfeel: the certificate of the agent and its private key must be given together\n"
    for option in ("--tls-cert", "--tls-key"):
        assert run(*given, option, __file__) == (1, together)
    missing = tmp_path / "none.pem"
    assert run(*given, "--tls-cert", __file__, "--tls-key", str(missing)) == (
        1,
        f"tcsfeel: the agent cannot serve HTTPS: {missing} cannot be read: No such file or directory\n",
    )
