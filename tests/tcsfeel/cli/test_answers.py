"""What commands print when a server answers with wrong fields, or with text that steers a terminal."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tcsfeel.cli import cli
from tests.tcsfeel.client.servers import answer, scripted

CLIENT: dict[str, Any] = {
    "id": "edge-1",
    "status": "healthy",
    "breaker": "closed",
    "data_size": 1,
    "bandwidth": 40.0,
    "latency": 25.0,
    "reliability": 0.9,
    "measured": {"bandwidth": None, "latency": None, "reliability": None},
    "rounds_selected": 0,
    "rounds_completed": 0,
}
ROUND: dict[str, Any] = {
    "number": 1,
    "status": "abandoned",
    "ended_at": "2026-01-01T00:00:00Z",
    "goal_value": None,
    "communication_cost": None,
    "failure_reason": None,
    "selected_clients": [],
}
TRAINING: dict[str, Any] = {
    "id": "t",
    "status": "failed",
    "goal": {"metric": "accuracy"},
    "stop_reason": "max_rounds",
    "stop_detail": None,
    "progress": None,
}
FORGED = "\x1b[31mbad\ncompleted: all is well\u202e\ud800"


def run(arguments: list[str], *bodies: object) -> Result:
    with scripted(*[answer(200, json.dumps(body).encode()) for body in bodies]) as server:
        return CliRunner().invoke(cli, [*arguments, "--server", server.url, "--key", "k"])


def clients(item: object) -> Result:
    return run(["clients"], {"items": [item], "next_cursor": None})


def watch(training: object, *rounds: object) -> Result:
    return run(["watch", "t"], training, {"items": rounds, "next_cursor": None})


@pytest.mark.parametrize(
    "result",
    [
        lambda: clients(CLIENT | {"id": FORGED}),
        lambda: clients(CLIENT | {"status": FORGED}),
        lambda: clients(CLIENT | {"breaker": FORGED}),
        lambda: watch(TRAINING | {"stop_detail": FORGED}, ROUND),
        lambda: watch(TRAINING | {"stop_reason": FORGED}, ROUND),
        lambda: watch(TRAINING | {"goal": {"metric": FORGED}}, ROUND),
        lambda: watch(TRAINING, ROUND | {"failure_reason": FORGED}),
        lambda: watch(TRAINING, ROUND | {"status": FORGED}),
        lambda: run(["train", "--name", "x"], TRAINING | {"id": FORGED.replace("\ud800", "")}, TRAINING),
    ],
)
def test_text_of_a_server_forges_no_line_and_steers_no_terminal(result: Any) -> None:
    lines = result().output.split("\n")
    assert all(line.isprintable() for line in lines)
    assert any(r"\x1b[31mbad\ncompleted: all is well\u202e" in line for line in lines)
    assert not any(line.startswith("completed") for line in lines)


@pytest.mark.parametrize(
    ("result", "field"),
    [
        (lambda: clients(7), "client 1 should be an object"),
        (lambda: clients({}), "client 1.id should be a text"),
        (lambda: clients(CLIENT | {"id": 7}), "client 1.id should be a text"),
        (lambda: clients(CLIENT | {"bandwidth": None}), "client 1.bandwidth should be a number"),
        (lambda: clients(CLIENT | {"bandwidth": 10**400}), "client 1.bandwidth should be a finite number"),
        (lambda: clients(CLIENT | {"data_size": 10**400}), "client 1.data_size should be a smaller number"),
        (lambda: clients(CLIENT | {"rounds_selected": True}), "client 1.rounds_selected should be a whole number"),
        (lambda: clients(CLIENT | {"measured": None}), "client 1.measured should be an object"),
        (lambda: watch(None), "training should be an object"),
        (lambda: watch({}), "training.status should be a text"),
        (lambda: watch(TRAINING | {"goal": None}, ROUND), "training.goal should be an object"),
        (lambda: watch(TRAINING | {"status": "running", "progress": 3}), "training.progress should be an object"),
        (lambda: watch(TRAINING, None), "round should be an object"),
        (lambda: watch(TRAINING, ROUND | {"number": "1"}), "round.number should be a whole number"),
        (lambda: watch(TRAINING, ROUND | {"selected_clients": 3}), "round.selected_clients should be a list"),
        (lambda: run(["watch", "t"], TRAINING, [1]), "page should be an object"),
        (lambda: run(["train", "--name", "x"], None), "training should be an object"),
        (lambda: run(["train", "--name", "x"], {"id": 7}), "training.id should be a text"),
    ],
)
def test_an_answer_with_a_wrong_field_ends_a_command_with_one_line(result: Any, field: str) -> None:
    done = result()
    assert (done.exit_code, done.stderr) == (
        1,
        f"tcsfeel: the server's answer is not what was expected: {field}\n",
    )


@pytest.mark.parametrize("cursor", [["a"], 7, {}, "\ud800", "a" * 10_000])
def test_a_cursor_that_is_no_short_text_ends_a_command_with_one_line(cursor: object) -> None:
    done = run(["clients"], {"items": [], "next_cursor": cursor})
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "is not a page of a list" in done.stderr or "next_cursor should be a short text" in done.stderr


@pytest.mark.parametrize(("given", "sent"), [("a/../b\n?x", b"a%2F..%2Fb%0A%3Fx"), ("..", b"%2E%2E")])
def test_an_id_stays_one_segment_of_the_path(given: str, sent: bytes) -> None:
    with scripted(answer(404, b'{"detail": "none"}')) as server:
        done = CliRunner().invoke(cli, ["watch", given, "--server", server.url, "--key", "k"])
    assert done.stderr == "tcsfeel: 404: none\n"
    assert server.requests[0].startswith(b"GET /v1/trainings/" + sent + b" HTTP/1.1\r\n")


@pytest.mark.parametrize("given", ["", "\udcff"])
def test_an_id_that_no_path_can_contain_is_refused_with_one_line(given: str) -> None:
    done = CliRunner().invoke(cli, ["watch", given, "--server", "http://127.0.0.1:9", "--key", "k"])
    assert done.stderr.startswith("tcsfeel: 422: /path/training_id should ")
    assert len(done.stderr.splitlines()) == 1
