"""``tcsfeel invitations``: what is sent, and that the secret alone is on standard output."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from tcsfeel.cli import cli
from tests.tcsfeel.client.servers import Scripted, answer, scripted

MADE: dict[str, Any] = {
    "id": "4fd9a30c7be1528d",
    "name": None,
    "state": "open",
    "uses": 100,
    "used": 3,
    "uses_left": 97,
    "id_pattern": "edge-*",
    "tags": {},
    "replaces": None,
    "created_at": "2026-11-30T00:00:00Z",
    "expires_at": "2026-12-01T00:00:00Z",
    "revoked_at": None,
}
NEW = MADE | {"secret": "tcsfeel_invitation_4fd9a30c7be1528d_" + "ab" * 32}


def run(server: Scripted, *arguments: str) -> Any:
    given = ["invitations", *arguments, "--server", server.url, "--key", "an-operators-key"]
    return CliRunner().invoke(cli, given)


def sent(server: Scripted) -> tuple[str, Any]:
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    return head.decode().split(" HTTP")[0], json.loads(body) if body else None


def test_the_secret_of_a_new_invitation_is_printed_alone() -> None:
    options = ["--uses", "100", "--ids", "edge-*", "--tag", "site:north", "--expires", "7d", "--name", "north"]
    with scripted(answer(201, json.dumps(NEW).encode())) as server:
        result = run(server, "create", *options)
    assert (result.exit_code, result.stdout) == (0, f"{NEW['secret']}\n")
    assert result.stderr == (
        "The invitation 4fd9a30c7be1528d is valid until 2026-12-01T00:00:00Z. It is shown only now:\n"
    )
    body = {"uses": 100, "id_pattern": "edge-*", "tags": {"site": "north"}, "name": "north"}
    assert sent(server) == ("POST /v1/invitations", body | {"expires_in_seconds": 604_800})


def test_an_invitation_has_defaults_and_is_shown_as_json() -> None:
    with scripted(answer(201, json.dumps(NEW).encode())) as server:
        result = run(server, "create", "--json")
    assert json.loads(result.stdout) == NEW
    assert sent(server)[1] == {"uses": 1, "tags": {}, "expires_in_seconds": 86_400}


def test_a_replacement_is_for_a_client() -> None:
    with scripted(answer(201, json.dumps(NEW).encode())) as server:
        result = run(server, "replace", "edge-7", "--expires", "90m")
    assert (result.exit_code, result.stdout) == (0, f"{NEW['secret']}\n")
    assert sent(server) == ("POST /v1/clients/edge-7/replacement", {"expires_in_seconds": 5400})


def test_invitations_are_listed_for_people_and_for_programs() -> None:
    hostile = MADE | {"id": "b", "name": "\x1b[31m", "id_pattern": None}
    page = answer(200, json.dumps({"items": [MADE, hostile], "next_cursor": None}).encode())
    with scripted(page, page) as server:
        table, listed = run(server, "list").stdout, run(server, "list", "--json").stdout
    heading, first, second = table.splitlines()
    assert heading.split() == ["invitation", "name", "state", "used", "ids", "expires"]
    assert first.split() == ["4fd9a30c7be1528d", "-", "open", "3/100", "edge-*", "2026-12-01T00:00:00Z"]
    assert second.split()[:2] == ["b", "\\x1b[31m"]
    assert json.loads(listed) == [MADE, hostile]


def test_the_devices_of_an_invitation_are_listed_with_the_keys_to_revoke() -> None:
    device = {
        "client_id": "edge-7", "public_key": "K" * 43, "invitation_id": MADE["id"], "key_id": "3f0c2a9d5b7e",
        "enrolled_at": "2026-11-30T00:00:00Z",
    }  # fmt: skip
    page = answer(200, json.dumps({"items": [device], "next_cursor": None}).encode())
    with scripted(page, page) as server:
        table, listed = (
            run(server, "enrolments", MADE["id"]).stdout,
            run(server, "enrolments", MADE["id"], "--json").stdout,
        )
    assert sent(server)[0].startswith(f"GET /v1/invitations/{MADE['id']}/enrolments")
    assert table.splitlines()[1].split() == ["edge-7", "3f0c2a9d5b7e", "2026-11-30T00:00:00Z", "K" * 43]
    assert json.loads(listed) == [device]


def test_an_invitation_is_revoked_and_a_refusal_ends_the_command() -> None:
    refusal = json.dumps({"status": 404, "detail": "there is no invitation 'x'"}).encode()
    with scripted(answer(204), answer(404, refusal, Content_Type="application/problem+json")) as server:
        done, refused = run(server, "revoke", "4fd9a30c7be1528d"), run(server, "revoke", "x")
    assert (done.exit_code, done.output) == (0, "")
    assert sent(server) == ("DELETE /v1/invitations/4fd9a30c7be1528d", None)
    assert (refused.exit_code, refused.stderr) == (1, "tcsfeel: 404: there is no invitation 'x'\n")


@pytest.mark.parametrize("time", ["7", "d", "1w", "-1d"])
def test_a_time_is_a_number_and_a_unit(time: str) -> None:
    for arguments in (["create"], ["replace", "edge-7"]):
        result = CliRunner().invoke(cli, ["invitations", *arguments, "--expires", time, "--key", "k"])
        assert result.exit_code == 1
        assert result.stderr.startswith("tcsfeel: --expires should be a whole number and a unit")


@pytest.mark.parametrize("command", ["create", "enrolments", "list", "replace", "revoke"])
def test_each_command_has_help_with_an_example(command: str) -> None:
    result = CliRunner().invoke(cli, ["invitations", command, "--help"])
    assert result.exit_code == 0
    assert f"Example: tcsfeel invitations {command}" in " ".join(result.output.split())
