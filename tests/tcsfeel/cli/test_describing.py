"""``tcsfeel describe`` and ``tcsfeel top``, against a real server whose devices have trained."""

import json
import re
from typing import Any

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.top import by_trouble, summary
from tests.tcsfeel.cli.federation import Federation


def trained(federation: Federation) -> str:
    options = ["--name", "digits", "--min-clients", "2", "--max-clients", "3", "--max-rounds", "2", "--watch", "--json"]
    result = federation.run("train", *options)
    assert result.exit_code == 0, result.output
    training_id: str = json.loads(result.stdout.splitlines()[-1])["id"]
    return training_id


def test_a_training_its_round_and_a_client_are_described(federation: Federation) -> None:
    training_id = trained(federation)
    training = federation.run("describe", "training", training_id)
    assert training.exit_code == 0, training.output
    assert training.stdout.startswith(f"training {training_id}  digits\n")
    assert re.search(r"^  status +completed$", training.stdout, re.MULTILINE)
    assert re.search(r"^round   2  completed", training.stdout, re.MULTILINE)
    one = federation.run("describe", "round", training_id, "1")
    assert one.exit_code == 0, one.output
    assert re.search(r"^  edge-\d +received +\d+\.\d s$", one.stdout, re.MULTILINE)
    assert re.search(r"^selected by tcs-feel\n  edge-\d +score ", one.stdout, re.MULTILINE)
    client = federation.run("describe", "client", "edge-1")
    assert client.exit_code == 0, client.output
    assert client.stdout.startswith("client edge-1\n")
    assert re.search(r"^  bandwidth +[\d.e+]+", client.stdout, re.MULTILINE)
    assert "breaker closed" in client.stdout
    top = federation.run("top")
    assert top.exit_code == 0, top.output
    assert top.stdout.splitlines()[0] == "3 clients: 3 healthy; 0 breakers not closed"
    assert len(top.stdout.splitlines()) == 5
    assert len(federation.run("top", "--clients", "1").stdout.splitlines()) == 3
    assert federation.run("describe", "round", training_id, "9").exit_code == 1


def client(client_id: str, status: str = "healthy", breaker: str = "closed", faulty: int = 0) -> Fields:
    given: dict[str, Any] = {"id": client_id, "status": status, "breaker": breaker}
    return Fields(given | {"failures": {"unreachable": 0, "faulty": faulty}}, "client")


def test_clients_with_trouble_come_first() -> None:
    fleet = [
        client("ok"),
        client("late", "suspect"),
        client("bad", faulty=3),
        client("off", "down"),
        client("x", breaker="open"),
    ]
    assert [item.text("id") for item in by_trouble(fleet)] == ["off", "x", "late", "bad", "ok"]
    assert summary(fleet) == "5 clients: 3 healthy, 1 suspect, 1 down; 1 breakers not closed"
    assert summary([]) == "0 clients: none; 0 breakers not closed"
