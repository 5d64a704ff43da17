"""Commands about clients: what they print, and their exit status."""

import json

from tcsfeel.client import Client
from tests.tcsfeel.cli.federation import Federation


def test_the_table_of_clients_has_a_column_below_each_heading(federation: Federation) -> None:
    heading, *rows = federation.run("clients").output.splitlines()
    for name in heading.split():
        assert all(row[heading.index(name)] != " " for row in rows), name
        assert all(row[heading.index(name) - 1] == " " for row in rows if heading.index(name)), name
    assert [row.split()[0] for row in rows] == ["edge-0", "edge-1", "edge-2"]


def test_clients_are_listed_for_people_and_for_programs(federation: Federation) -> None:
    assert "edge-1" in federation.run("clients").output
    listed = json.loads(federation.run("clients", "--json").output)
    assert [client["id"] for client in listed] == ["edge-0", "edge-1", "edge-2"]


def test_a_breaker_is_opened_and_reset_and_a_client_shows_it(federation: Federation) -> None:
    assert federation.run("breaker", "edge-1", "open").output.startswith("breaker open")
    heading, row, breaker = federation.run("client", "edge-1").output.splitlines()
    assert (heading.split()[0], row.split()[:3]) == ("client", ["edge-1", "healthy", "open"])
    assert breaker.startswith("breaker open")
    assert federation.run("breaker", "edge-1", "reset").output == "breaker closed\n"
    shown = json.loads(federation.run("client", "edge-1", "--json").output)
    assert (shown["client"]["id"], shown["breaker"]["state"]) == ("edge-1", "closed")
    missing = federation.run("client", "nobody")
    assert (missing.exit_code, missing.output.count("\n")) == (1, 1)
    assert "404" in missing.output


def test_outcomes_are_reported_and_clients_listed_by_their_breakers(federation: Federation) -> None:
    assert federation.run("outcome", "edge-2", "success", "--seconds", "2.5").output == "breaker closed\n"
    for _ in range(3):
        failed = federation.run("outcome", "edge-2", "unreachable", "--reason", "no connection")
    first, *_, last = failed.output.splitlines()
    assert first.startswith("breaker open, opened because 3 failures in a row; the next probe is let through at ")
    assert last.endswith("fit: reported by admin key: no connection")
    listed = json.loads(federation.run("clients", "--healthy", "--breaker", "closed", "--json").output)
    assert [client["id"] for client in listed] == ["edge-0", "edge-1"]
    assert json.loads(federation.run("clients", "--unhealthy", "--json").output) == []
    shown = json.loads(federation.run("outcome", "edge-2", "success", "--quality", "0.5", "--json").output)
    assert (shown["breaker"]["state"], shown["measured"]["last_update_quality"]) == ("open", 0.5)
    federation.run("breaker", "edge-2", "reset")
    refused = federation.run("outcome", "edge-2", "success", "--reason", "x")
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "reason" in refused.output


def test_a_client_is_removed(federation: Federation) -> None:
    with Client(federation.server.url, federation.server.key) as client:
        client.register_client(
            id="edge-9", url="http://127.0.0.1:9", data_size=1, compute_capacity=1.0, bandwidth=1.0, latency=1.0
        )
    done = federation.run("remove-client", "edge-9")
    assert (done.exit_code, done.output) == (0, "")
    assert "404" in federation.run("client", "edge-9").output
    removed = federation.run("remove-client", "nobody")
    assert (removed.exit_code, removed.output.count("\n")) == (1, 1)
    assert "404" in removed.output
