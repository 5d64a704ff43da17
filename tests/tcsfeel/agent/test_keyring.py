"""The files in which clients keep what they have got."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tcsfeel.agent import AgentError
from tcsfeel.agent.keyring import Credentials, Keyring, usual_directory

CREDENTIALS = Credentials("edge-7", "tcsfeel_agent_1_2", "0123456789abcdef", "K" * 43)


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    assert keyring.find("edge-7") is None
    keyring.keep(CREDENTIALS)
    assert keyring.find("edge-7") == CREDENTIALS
    assert keyring.find("edge-8") is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps(asdict(CREDENTIALS) | {"client_id": "edge-8"}),
        json.dumps(asdict(CREDENTIALS) | {"key": None}),
        json.dumps(asdict(CREDENTIALS) | {"more": "x"}),
        '"' + "x" * 100_000 + '"',
    ],
)
def test_a_file_that_no_agent_wrote_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "edge-7.enrolment.json"
    file.write_text(content)
    with pytest.raises(
        AgentError, match=r"edge-7.enrolment.json was not written by an agent: restore it, or remove it"
    ):
        Keyring(tmp_path).find("edge-7")


def test_a_file_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "edge-7.enrolment.json").mkdir()
    (tmp_path / "edge-7.enrolment.json" / "x").touch()
    keyring = Keyring(tmp_path)
    with pytest.raises(AgentError, match=r"edge-7.enrolment.json cannot be read: "):
        keyring.find("edge-7")
    with pytest.raises(AgentError, match=r"cannot be kept in .*edge-7.enrolment.json: "):
        keyring.keep(CREDENTIALS)
    (tmp_path / "edge-7.identity").write_text("x")
    with pytest.raises(AgentError, match=r"edge-7.identity, which keeps the identity"):
        keyring.identity("edge-7")


def test_the_directory_is_in_the_state_of_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    where: dict[str, Any] = {"XDG_STATE_HOME": "/var/state", "HOME": "/home/ada"}
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    assert usual_directory() == Path("/var/state/tcsfeel")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert usual_directory() == Path("/home/ada/.local/state/tcsfeel")
