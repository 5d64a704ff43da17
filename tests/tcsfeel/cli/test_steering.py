"""Commands that list and steer trainings: what they print, and their exit status."""

import json

from tests.tcsfeel.cli.federation import Federation


def test_trainings_are_listed_paused_resumed_and_cancelled(federation: Federation) -> None:
    started = federation.run("train", "--name", "first", "--min-clients", "2", "--max-rounds", "100000")
    training = started.output.strip()
    for action, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        heading, row = federation.run(action, training).output.splitlines()
        assert (heading.split()[0], row.split()[:3]) == ("training", [training, "first", status])
    assert json.loads(federation.run("trainings", "--json").output)[0]["id"] == training
    heading, row = federation.run("trainings").output.splitlines()
    assert (row.split()[:3], row.split()[-1]) == ([training, "first", "cancelled"], "cancelled")
    refused = federation.run("resume", training)
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "cancelled" in refused.output
