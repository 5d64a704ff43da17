"""``tcsfeel webhooks``: what is sent, and that the secret alone is on standard output."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from tcsfeel.cli import cli
from tests.tcsfeel.client.servers import Scripted, answer, scripted

ONE: dict[str, Any] = {
    "id": "9f2c4b7a1d3e5f60",
    "name": "pager",
    "url": "https://example.com/hook",
    "types": ["round.completed", "client.down"],
    "enabled": True,
    "failing_since": "2026-11-30T00:00:00Z",
    "problem": "the receiver answered 500",
}
DEAD = {
    "event_id": 4711,
    "type": "client.down",
    "attempts": 8,
    "died_at": "2026-11-30T00:00:00Z",
    "status": None,
    "problem": "no",
}


def run(server: Scripted, *arguments: str) -> Any:
    return CliRunner().invoke(cli, ["webhooks", *arguments, "--server", server.url, "--key", "a-key"])


def sent(server: Scripted) -> tuple[str, Any]:
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    return head.decode().split(" HTTP")[0], json.loads(body) if body else None


def body_of(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_the_secret_of_a_new_webhook_is_printed_alone() -> None:
    options = ["--type", "round.completed", "--training", "t", "--name", "pager"]
    with scripted(answer(201, body_of(ONE | {"secret": "whsec_x"}))) as server:
        result = run(server, "create", ONE["url"], *options)
    assert (result.exit_code, result.stdout) == (0, "whsec_x\n")
    assert "9f2c4b7a1d3e5f60" in result.stderr
    body = {"url": ONE["url"], "types": ["round.completed"], "training_id": "t", "name": "pager"}
    assert sent(server) == ("POST /v1/webhooks", body)


def test_the_list_says_what_keeps_a_receiver_from_taking_events() -> None:
    disabled = ONE | {"enabled": False, "name": None, "types": [], "problem": None}
    with scripted(answer(200, body_of({"items": [ONE, disabled], "next_cursor": None}))) as server:
        result = run(server, "list")
    lines = result.stdout.splitlines()
    assert "failing" in lines[1]
    assert "the receiver answered 500" in lines[1]
    assert "disabled" in lines[2]
    assert " all " in lines[2]


@pytest.mark.parametrize(
    ("arguments", "request_", "body"),
    [
        (("enable", "9f2c"), "PATCH /v1/webhooks/9f2c", {"enabled": True}),
        (("disable", "9f2c"), "PATCH /v1/webhooks/9f2c", {"enabled": False}),
        (("remove", "9f2c"), "DELETE /v1/webhooks/9f2c", None),
        (("redeliver", "9f2c"), "POST /v1/webhooks/9f2c/redeliver", {}),
        (("redeliver", "9f2c", "--event", "7"), "POST /v1/webhooks/9f2c/redeliver", {"event_ids": [7]}),
    ],
)
def test_other_commands_send_one_call(arguments: tuple[str, ...], request_: str, body: Any) -> None:
    given = {"redelivered": 1} if "redeliver" in arguments else ONE
    with scripted(answer(200, body_of(given))) as server:
        result = run(server, *arguments)
    assert result.exit_code == 0, result.output
    assert sent(server) == (request_, body)


def test_dead_deliveries_are_listed() -> None:
    with scripted(answer(200, body_of({"items": [DEAD], "next_cursor": None}))) as server:
        result = run(server, "dead", "9f2c")
    assert sent(server)[0].startswith("GET /v1/webhooks/9f2c/dead-letters")
    assert "4711" in result.stdout
